# Supervised fine-tuning: chat data to a merged model folder, each step only when its inputs changed.
#
#   make -f pipelines/sft.mk MODEL=model/ DATA=alpaca.json OUT=run [EVAL=held-out.json] [LORA='--rank 16 --epochs 3']
#        [ENCODE='--max-length 2048 --overlong split']
#
# makes OUT/train.tok, OUT/adapter/ and OUT/merged/, and with EVAL also OUT/loss.jsonl: the held-out loss before and after.
# When training is interrupted, the same command goes on. When data or options changed, lora-train says what and stops;
# RESTART=1 then begins anew.

MODEL ?= model
DATA ?= alpaca.json
EVAL ?=
OUT ?= run
LORA ?= --rank 16
ENCODE ?=
RESTART ?=

ADAPTER := $(OUT)/adapter/adapter_model.safetensors
MERGED := $(OUT)/merged/config.json

.DELETE_ON_ERROR:
.PHONY: all
all: $(MERGED) $(if $(EVAL),$(OUT)/loss.jsonl)

# A producer that dies in mid-pipe is noticed by tok-encode: the chat stream lacks its end.
define encode
mkdir -p $(OUT)
fmt-chat -m $(MODEL) $< | tok-encode -f -m $(MODEL) $(ENCODE) -o $@
endef

$(OUT)/train.tok: $(DATA)
	$(encode)

$(OUT)/eval.tok: $(EVAL)
	$(encode)

$(ADAPTER): $(OUT)/train.tok $(if $(EVAL),$(OUT)/eval.tok)
	lora-train -m $(MODEL) -o $(OUT)/adapter $(if $(RESTART),--restart) $(LORA) $(if $(EVAL),--eval $(OUT)/eval.tok) $<
	@touch $@

$(MERGED): $(ADAPTER)
	adapter-merge -f -m $(MODEL) -o $(OUT)/merged $(OUT)/adapter

$(OUT)/loss.jsonl: $(OUT)/eval.tok $(MERGED)
	eval-loss -q -m $(MODEL) $< >$@
	eval-loss -q -m $(OUT)/merged $< >>$@
