/* SPDX-License-Identifier: MIT */
/* The passphrases of LUKS images, as the options encrypt.* of amend change
 * them.
 */
#ifndef TOOL_AMEND_KEY_H
#define TOOL_AMEND_KEY_H

#include "create_options.h"

/* What is to become of them. */
struct amend_key {
    bool wanted;
    bool erase;
    bool force;
    uint32_t slot;           /* BYRE_KEY_ANY_SLOT: none was named */
    const char *secret;      /* its id; NULL: none */
    uint64_t iter_time_msec; /* 0: the default */
};

/*
 * Reads the values, which must outlive the key.  Returns false and fills
 * `message` if they do not go together.
 */
bool amend_key_fill(const struct create_values *values, bool force,
                    struct amend_key *ret_key,
                    char message[CREATE_MESSAGE_SIZE]);

/* Changes the passphrases of the image called `name`, as byre_key_add(). */
int amend_key_run(const struct amend_key *key, struct secrets *secrets,
                  const char *name, struct byre *img, struct byre_error *err);

#endif /* TOOL_AMEND_KEY_H */
