# A sweep: one run for each pair of rank and learning rate, side by side, and a table sorted by held-out loss.
#
#   make -j 4 -f pipelines/sweep.mk MODEL=model/ TRAIN=train.tok EVAL=eval.tok OUT=sweep RANKS='8 32' RATES='1e-4 3e-4'
#
# Run again with more ranks or rates, only what is new is trained; interrupted runs go on where they were. THREADS is what
# each run may use: the CPUs divided by -j.

MODEL ?= model
TRAIN ?= train.tok
EVAL ?= eval.tok
OUT ?= sweep
RANKS ?= 8 32
RATES ?= 1e-4 3e-4 1e-3
LORA ?= --epochs 3
THREADS ?= 1

RUNS := $(foreach r,$(RANKS),$(foreach l,$(RATES),$(OUT)/rank-$r-lr-$l))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all
all: $(OUT)/table.tsv
	@cat $<

# rank-8-lr-1e-4 is --rank 8 --lr 1e-4
$(OUT)/%.json: $(TRAIN) $(EVAL)
	@mkdir -p $(OUT)
	lora-train -q -j $(THREADS) -m $(MODEL) -o $(OUT)/$* $(LORA) $$(echo $* | sed -E 's/^rank-(.*)-lr-(.*)$$/--rank \1 --lr \2/') $(TRAIN)
	eval-loss -q -j $(THREADS) -m $(MODEL) -a $(OUT)/$* $(EVAL) >$@

$(OUT)/table.tsv: $(RUNS:%=%.json)
	@for f in $^; do \
		printf '%s\t%s\n' "$$(sed -E 's/.*"loss": ?([0-9.eE+-]+).*/\1/' $$f)" "$$(basename $$f .json)"; \
	done | sort -g >$@
