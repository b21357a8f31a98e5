/* SPDX-License-Identifier: MIT */
/*
 * Text that may come from an image and goes to a terminal.
 */
#ifndef BYRE_BASE_TEXT_H
#define BYRE_BASE_TEXT_H

/*
 * Replaces, by question marks, every byte that is part of a control character
 * (C0, DEL, C1), of one that breaks lines or turns the direction of writing, or
 * of no valid UTF-8.
 */
void text_make_plain(char *text);

#endif
