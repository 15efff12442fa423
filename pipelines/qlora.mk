# QLoRA: chat data and a model to an adapter over its quantized weights, and to a merged model, each step only when its inputs changed.
#
#   make -f pipelines/qlora.mk MODEL=model/ DATA=alpaca.json EVAL=held-out.json OUT=run [QUANTIZE='--method nf4 --double-quant']
#        [LORA='--rank 16 --epochs 3'] [MERGE=--requantize] [ENCODE='--max-length 2048 --overlong split']
#
# makes OUT/base/ (quantized), OUT/train.tok, OUT/eval.tok, OUT/adapter/ and OUT/merged/, checked over EVAL, and OUT/loss.jsonl: the held-out loss of the
# model, of the quantized one, with the adapter, and merged. MERGE: empty for a plain model, --requantize for one in the layout of the base (LORA then gains from
# --merge-aware), or "--base16 $(MODEL)". When training is interrupted, the same command goes on; RESTART=1 begins anew.

MODEL ?= model
DATA ?= alpaca.json
EVAL ?= eval.json
OUT ?= run
QUANTIZE ?= --method nf4 --double-quant
LORA ?= --rank 16
MERGE ?=
ENCODE ?=
RESTART ?=

BASE := $(OUT)/base/config.json
ADAPTER := $(OUT)/adapter/adapter_model.safetensors
MERGED := $(OUT)/merged/config.json
OPTIONS := encode quantize lora merge
encode.options = $(MODEL) $(ENCODE)
quantize.options = $(MODEL) $(QUANTIZE)
lora.options = $(LORA)
merge.options = $(MERGE)

include $(dir $(lastword $(MAKEFILE_LIST)))common.mk

.PHONY: all
all: $(OUT)/loss.jsonl

$(OUT)/train.tok: $(DATA) $(OUT)/encode.options $(FILES)
	$(encode)

$(OUT)/eval.tok: $(EVAL) $(OUT)/encode.options $(FILES)
	$(encode)

$(BASE): $(OUT)/quantize.options $(FILES)
	quantize -f -m $(MODEL) -o $(OUT)/base $(QUANTIZE)
	@touch $@

$(ADAPTER): $(OUT)/train.tok $(OUT)/lora.options $(BASE)
	lora-train -m $(OUT)/base -o $(OUT)/adapter $(if $(RESTART),--restart) $(LORA) $<
	@touch $@

$(MERGED): $(ADAPTER) $(OUT)/eval.tok $(OUT)/merge.options
	adapter-merge -f -m $(OUT)/base -o $(OUT)/merged $(MERGE) --check $(OUT)/eval.tok $(OUT)/adapter

$(OUT)/loss.jsonl: $(OUT)/eval.tok $(MERGED)
	eval-loss -q -m $(MODEL) $< >$@
	eval-loss -q -m $(OUT)/base $< >>$@
	eval-loss -q -m $(OUT)/base -a $(OUT)/adapter $< >>$@
	eval-loss -q -m $(OUT)/merged $< >>$@
