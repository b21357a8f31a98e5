/* SPDX-License-Identifier: MIT */
#include "amend_key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As many as the library takes of a passphrase. */
#define MAX_PASSPHRASE_BYTES 65536

static bool refuse(char *message, const char *text)
{
    snprintf(message, CREATE_MESSAGE_SIZE, "%s", text);
    return false;
}

static bool is_given(const struct create_values *values, enum create_key key)
{
    return values->texts[key] != NULL;
}

/* ---- What the options say ---- */

static bool check_add(const struct create_values *values, char *message)
{
    if (!is_given(values, CREATE_NEW_SECRET))
        return refuse(message, "'encrypt.new-secret' is required to activate "
                               "a key slot");
    if (is_given(values, CREATE_OLD_SECRET))
        return refuse(message, "'encrypt.old-secret' must not be given when "
                               "activating a key slot");
    return true;
}

static bool check_erase(const struct create_values *values, char *message)
{
    if (is_given(values, CREATE_NEW_SECRET))
        return refuse(message, "'encrypt.new-secret' must not be given when "
                               "erasing key slots");
    if (is_given(values, CREATE_ITER_TIME))
        return refuse(message, "'encrypt.iter-time' must not be given when "
                               "erasing key slots");
    if (is_given(values, CREATE_OLD_SECRET) == is_given(values, CREATE_KEYSLOT))
        return refuse(message, "To erase key slots, give either "
                               "'encrypt.keyslot' or 'encrypt.old-secret'");
    return true;
}

static bool take_state(const struct create_values *values,
                       struct amend_key *key, char *message)
{
    const char *state = values->texts[CREATE_KEY_STATE];

    if (state == NULL)
        return refuse(message, "Parameter 'encrypt.state' is missing");
    key->erase = strcmp(state, "inactive") == 0;
    if (key->erase)
        return check_erase(values, message);
    if (strcmp(state, "active") == 0)
        return check_add(values, message);
    snprintf(message, CREATE_MESSAGE_SIZE,
             "Parameter 'encrypt.state' does not accept value '%.200s'", state);
    return false;
}

static bool take_slot(const struct create_values *values, struct amend_key *key,
                      char *message)
{
    const char *text = values->texts[CREATE_KEYSLOT];
    unsigned long long slot;

    key->slot = BYRE_KEY_ANY_SLOT;
    if (text == NULL)
        return true;
    slot = strtoull(text, NULL, 10);
    if (slot > 7) {
        snprintf(message, CREATE_MESSAGE_SIZE,
                 "Invalid keyslot %llu: there are 0 to 7", slot);
        return false;
    }
    key->slot = (uint32_t)slot;
    return true;
}

bool amend_key_fill(const struct create_values *values, bool force,
                    struct amend_key *ret_key,
                    char message[CREATE_MESSAGE_SIZE])
{
    static const enum create_key keys[] = { CREATE_ITER_TIME, CREATE_KEYSLOT,
                                            CREATE_NEW_SECRET,
                                            CREATE_OLD_SECRET,
                                            CREATE_KEY_STATE };
    const char *time = values->texts[CREATE_ITER_TIME];

    *ret_key = (struct amend_key){ .force = force };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        ret_key->wanted = ret_key->wanted || is_given(values, keys[i]);
    if (!ret_key->wanted)
        return true;
    if (!take_state(values, ret_key, message) ||
        !take_slot(values, ret_key, message))
        return false;
    ret_key->secret =
        values->texts[ret_key->erase ? CREATE_OLD_SECRET : CREATE_NEW_SECRET];
    ret_key->iter_time_msec = time != NULL ? strtoull(time, NULL, 10) : 0;
    /* Zero stands for the default to the library; here it is the least. */
    if (time != NULL && ret_key->iter_time_msec == 0)
        ret_key->iter_time_msec = 1;
    return true;
}

/* ---- Doing it ---- */

static int use_passphrase(const struct amend_key *key, struct byre *img,
                          const void *passphrase, size_t length,
                          struct byre_error *err)
{
    const uint32_t flags = key->force ? BYRE_KEY_FORCE : 0;

    if (key->erase)
        return byre_key_erase_passphrase(img, passphrase, length, flags, err);
    return byre_key_add(img, key->slot, passphrase, length, key->iter_time_msec,
                        flags, err);
}

int amend_key_run(const struct amend_key *key, struct secrets *secrets,
                  const char *name, struct byre *img, struct byre_error *err)
{
    unsigned char *passphrase;
    size_t length = 0;
    int r;

    if (key->secret == NULL)
        return byre_key_erase(img, key->slot, key->force ? BYRE_KEY_FORCE : 0,
                              err);
    passphrase = malloc(MAX_PASSPHRASE_BYTES);
    if (passphrase == NULL) {
        *err = (struct byre_error){ .code = BYRE_E_NOMEM,
                                    .offset = BYRE_NO_OFFSET };
        snprintf(err->message, sizeof(err->message), "out of memory");
        return BYRE_E_NOMEM;
    }
    r = secrets_get(secrets, key->secret, name, passphrase,
                    MAX_PASSPHRASE_BYTES, &length, err);
    if (r == BYRE_OK)
        r = use_passphrase(key, img, passphrase, length, err);
    explicit_bzero(passphrase, length);
    free(passphrase);
    return r;
}
