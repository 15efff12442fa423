/* config.json says that the output layer is the embedding, and the file holds a lm_head.weight as well. When its values are the
 * embedding's, it is a copy that some writers leave, and nothing changes. When they differ the file is right: the model is not
 * tied (transformers 5, PreTrainedModel.tie_weights, does the same), and m->untied and m->warning say so. By model_open. */
#ifndef MODEL_WEIGHTS_TIE_H
#define MODEL_WEIGHTS_TIE_H

struct model;
void weights_settle_tie(struct model *m);

#endif
