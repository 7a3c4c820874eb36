/* execinput.h - parts of the executor input that placeholders show as well. Private to engine/. */
#ifndef TM_PIPELINES_ENGINE_EXECINPUT_H
#define TM_PIPELINES_ENGINE_EXECINPUT_H

#include "pipelines/engine/live.h"

#define EXECUTOR_INPUT_MAX (16u << 20)
#define ARGV_ELEMENT_MAX   (120u << 10) /* Linux ends at 128 KiB (MAX_ARG_STRLEN) */

jmval *input_artifact_json(struct jm *m, const struct art *a);
jmval *output_artifact_json(struct jm *m, const struct inst *i, const struct ir_artifact *out);

#endif
