# Preference training: pairs of a chosen and a rejected answer to a merged model folder, each step only when its inputs changed.
#
#   make -f pipelines/dpo.mk MODEL=model/ PAIRS=pairs.json OUT=run [CHAT=alpaca.json] [EVAL=held-out.json]
#        [LORA='--rank 16 --epochs 3'] [DPO='--loss sigmoid,sft:0.2 --epochs 1'] [ENCODE='--max-length 2048 --overlong drop']
#
# makes OUT/pairs.tok, OUT/dpo/ and OUT/merged/. With CHAT it first trains OUT/sft/ on these answers, with the options LORA, and
# the preferences go on from there; without, they train an adapter of their own. With EVAL the log, OUT/dpo/log.jsonl, has accuracy
# and margin on held-out pairs. When training is interrupted, the same command goes on. When the model, the data or the options
# changed, the trainer says what and stops; RESTART=1 then begins anew.

MODEL ?= model
PAIRS ?= pairs.json
CHAT ?=
EVAL ?=
OUT ?= run
LORA ?= --rank 16
DPO ?= --loss sigmoid --beta 0.1
ENCODE ?=
RESTART ?=

SFT := $(if $(CHAT),$(OUT)/sft/adapter_model.safetensors)
ADAPTER := $(OUT)/dpo/adapter_model.safetensors
MERGED := $(OUT)/merged/config.json
OPTIONS := encode lora dpo
encode.options = $(MODEL) $(ENCODE)
lora.options = $(LORA)
dpo.options = $(DPO) $(SFT)

include $(dir $(lastword $(MAKEFILE_LIST)))common.mk

.PHONY: all
all: $(MERGED)

$(OUT)/chat.tok: $(CHAT) $(OUT)/encode.options $(FILES)
	$(encode)

$(OUT)/pairs.tok: $(PAIRS) $(OUT)/encode.options $(FILES)
	$(call encode,-F pairs)

$(OUT)/eval.tok: $(EVAL) $(OUT)/encode.options $(FILES)
	$(call encode,-F pairs)

$(OUT)/sft/adapter_model.safetensors: $(OUT)/chat.tok $(OUT)/lora.options
	lora-train -m $(MODEL) -o $(OUT)/sft $(if $(RESTART),--restart) $(LORA) $<
	@touch $@

$(ADAPTER): $(OUT)/pairs.tok $(OUT)/dpo.options $(SFT) $(if $(EVAL),$(OUT)/eval.tok)
	dpo-train -m $(MODEL) -o $(OUT)/dpo $(if $(CHAT),--adapter $(OUT)/sft) $(if $(RESTART),--restart) $(DPO) \
		$(if $(EVAL),--eval $(OUT)/eval.tok) $<
	@touch $@

$(MERGED): $(ADAPTER)
	adapter-merge -f -m $(MODEL) -o $(OUT)/merged $(OUT)/dpo
