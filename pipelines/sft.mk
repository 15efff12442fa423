# Supervised fine-tuning: chat data to a merged model folder, each step only when its inputs changed.
#
#   make -f pipelines/sft.mk MODEL=model/ DATA=alpaca.json OUT=run [EVAL=held-out.json] [LORA='--rank 16 --epochs 3']
#        [ENCODE='--max-length 2048 --overlong split']
#
# makes OUT/train.tok, OUT/adapter/ and OUT/merged/, and with EVAL also OUT/loss.jsonl: the held-out loss before and after.
# When training is interrupted, the same command goes on. When the model, the data or the options changed, lora-train says
# what and stops; RESTART=1 then begins anew.

MODEL ?= model
DATA ?= alpaca.json
EVAL ?=
OUT ?= run
LORA ?= --rank 16
ENCODE ?=
RESTART ?=

ADAPTER := $(OUT)/adapter/adapter_model.safetensors
MERGED := $(OUT)/merged/config.json
OPTIONS := encode lora
encode.options = $(MODEL) $(ENCODE)
lora.options = $(LORA)

include $(dir $(lastword $(MAKEFILE_LIST)))common.mk

.PHONY: all
all: $(MERGED) $(if $(EVAL),$(OUT)/loss.jsonl)

$(OUT)/train.tok: $(DATA) $(OUT)/encode.options $(FILES)
	$(encode)

$(OUT)/eval.tok: $(EVAL) $(OUT)/encode.options $(FILES)
	$(encode)

$(ADAPTER): $(OUT)/train.tok $(OUT)/lora.options $(if $(EVAL),$(OUT)/eval.tok)
	lora-train -m $(MODEL) -o $(OUT)/adapter $(if $(RESTART),--restart) $(LORA) $(if $(EVAL),--eval $(OUT)/eval.tok) $<
	@touch $@

$(MERGED): $(ADAPTER)
	adapter-merge -f -m $(MODEL) -o $(OUT)/merged $(OUT)/adapter

$(OUT)/loss.jsonl: $(OUT)/eval.tok $(MERGED)
	eval-loss -q -m $(MODEL) $< >$@
	eval-loss -q -m $(OUT)/merged $< >>$@
