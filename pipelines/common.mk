# What the recipes share. Each sets OPTIONS before it includes this: for each word in it, NAME.options says what of the command line the file
# $(OUT)/NAME.options holds from the last time. That file is a prerequisite, written anew when the options changed.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

FILES := $(wildcard $(MODEL)/*.json $(MODEL)/*.safetensors)

same = $(and $(findstring x$1x,x$2x),$(findstring x$2x,x$1x))
changed = $(if $(call same,$(file <$1),$2),,$1)

.PHONY: $(foreach name,$(OPTIONS),$(call changed,$(OUT)/$(name).options,$($(name).options)))
$(OPTIONS:%=$(OUT)/%.options):
	@$(shell mkdir -p $(OUT))$(file >$@,$($(@F))):

# $(encode), or $(call encode,options of fmt-chat). A producer that dies in mid-pipe is noticed by tok-encode: the chat stream lacks its end.
define encode
mkdir -p $(OUT)
fmt-chat -m $(MODEL) $1 $< | tok-encode -f -m $(MODEL) $(ENCODE) -o $@
endef
