/* sha1.h - SHA-1 (FIPS 180-4): the name that clients give a script. Used for nothing that needs a secure hash. */
#ifndef FRIDGE_WIRE_SHA1_H
#define FRIDGE_WIRE_SHA1_H

#include "base.h"

/* sha1_hex writes the 40 hexadecimal digits of the SHA-1 of text. */
void sha1_hex(span text, char out[40]);

#endif
