/* load.h - LOAD: checks a model file's bytes and opens it, telling the agent how far it is. */
#ifndef ENGINE_LOAD_H
#define ENGINE_LOAD_H

#include "link.h"
#include "model.h"
#include "sha256.h"

/* Fills *config with what LOAD asks for, or with our own choice where it says 0. */
void load_config(const struct engine_msg *load, size_t n_cores, struct model_config *config);
/* Opens the model of config->file.  On failure reason says why, in a sentence;
 * ERR_CLOSED: the agent is gone. */
SHOAL_CHECK int load_model(struct link *l, struct model_config *config, struct model **ret, uint8_t ret_digest[SHA256_SIZE],
	char reason[MODEL_REASON_MAX]);

#endif
