# A sweep: one run for each pair of rank and learning rate, side by side, and a table sorted by held-out loss.
#
#   make -j 4 -f pipelines/sweep.mk MODEL=model/ TRAIN=train.tok EVAL=eval.tok OUT=sweep RANKS='8 32' RATES='1e-4 3e-4'
#
# Run again with more ranks or rates, only what is new is trained; interrupted runs go on where they were. When the model, the
# data or LORA changed, lora-train says what and stops; RESTART=1 then begins anew. A run that diverges gets the loss inf.
# THREADS is what each run may use: the CPUs divided by -j.

MODEL ?= model
TRAIN ?= train.tok
EVAL ?= eval.tok
OUT ?= sweep
RANKS ?= 8 32
RATES ?= 1e-4 3e-4 1e-3
LORA ?= --epochs 3
THREADS ?= 1
RESTART ?=

RUNS := $(foreach r,$(RANKS),$(foreach l,$(RATES),$(OUT)/rank-$r-lr-$l))

OPTIONS := lora
lora.options = $(MODEL) $(LORA)

include $(dir $(lastword $(MAKEFILE_LIST)))common.mk

.PHONY: all table
all: table

# rank-8-lr-1e-4 is --rank 8 --lr 1e-4. Status 3: diverged.
$(OUT)/%.json: $(TRAIN) $(EVAL) $(OUT)/lora.options $(FILES)
	lora-train -q -j $(THREADS) -m $(MODEL) -o $(OUT)/$* $(if $(RESTART),--restart) $(LORA) \
		$$(echo $* | sed -E 's/^rank-(.*)-lr-(.*)$$/--rank \1 --lr \2/') $(TRAIN); status=$$?; \
	case $$status in \
	0) eval-loss -q -j $(THREADS) -m $(MODEL) -a $(OUT)/$* $(EVAL) >$@ ;; \
	3) echo '{"loss":inf}' >$@ ;; \
	*) exit $$status ;; \
	esac

table: $(RUNS:%=%.json)
	@for f in $^; do \
		printf '%s\t%s\n' "$$(sed -E 's/.*"loss": ?([0-9.eE+-]+|inf).*/\1/' $$f)" "$$(basename $$f .json)"; \
	done | sort -g >$(OUT)/table.tsv
	@cat $(OUT)/table.tsv
