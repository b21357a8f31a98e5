# SPDX-License-Identifier: MIT
"""
The LUKS header inside an image.  The key material is junk: only what is judged
before and around it matters here.
"""
from builder import (EXT_CRYPTO, LUKS_AREA_BYTES, Qcow2, luks_header,
                     luks_slot)
from hazards.case import INFO, Case

MIB = 1 << 20
ACTIVE = 0x00AC71F3
NEEDS = ["crypto"]
UNLOCK = ("convert --object secret,id=s,file=pass --image-opts -O raw "
          "driver=qcow2,encrypt.key-secret=s,file.filename=image out.raw")


def image(area_bytes=LUKS_AREA_BYTES, stated_bytes=None, **fields):
    """A disk encrypted with the LUKS header of the case's own."""
    return Qcow2(MIB).luks(luks_header(**fields), area_bytes,
                           stated_bytes).build()


def refused(name, hazard, made, *words):
    """The header cannot be believed: not to show it, not to use it."""
    case = Case(name, hazard, made, needs=NEEDS,
                **{"pass": b"open sesame"})
    return case.fails(INFO, *words, memory=64).fails(
        UNLOCK, *words, memory=64)


def header(name, hazard, *words, **fields):
    """The same, with fields of the header forced."""
    return refused(f"luks-{name}", hazard, image(**fields), *words)


def slot(name, hazard, *words, **fields):
    """Key slot 3, which is in use, cannot be believed."""
    active = {"state": ACTIVE, "iterations": 1000, **fields}
    return header(f"slot-{name}", hazard, "slot", "3", *words,
                  slots={3: luks_slot(3, **active)})


def free_slot(name, hazard, *words, **fields):
    """
    Key slot 3, which is free, cannot be believed: a key that is added later
    would be written there.
    """
    return header(f"free-slot-{name}", hazard, "slot", "3", *words,
                  slots={3: luks_slot(3, **fields)})


def slots():
    return [
        slot("state-unknown", "A key slot is neither free nor in use.",
             "state 0x00001234", state=0x1234),
        slot("stripes-3999", "A key slot has too few stripes.",
             "3999 stripes", "4000", stripes=3999),
        slot("stripes-all-ones", "A key slot has the most stripes.",
             "4294967295 stripes", "4000", stripes=0xFFFFFFFF),
        slot("offset-wraps",
             "A key slot's material wraps round 32 bits: it ends at 0x1e8.",
             "key material at 2199023247360", offset_sectors=0xFFFFFFF0),
        slot("offset-in-header", "A key slot's material is the header.",
             "key material at 0", "592", offset_sectors=0),
        slot("overlaps-slot", "A key slot's material is another slot's.",
             "overlap", "at 4096", offset_sectors=8),
        slot("past-payload", "A key slot's material lies past the area.",
             "key material at 2068480", offset_sectors=4040),
        slot("no-iterations", "A key slot in use has no iterations.",
             "0 iterations", iterations=0),
        free_slot("stripes-3999", "A free key slot has too few stripes.",
                  "3999 stripes", "4000", stripes=3999),
        free_slot("offset-wraps",
                  "A free key slot's material wraps round 32 bits.",
                  "key material at 2199023247360", offset_sectors=0xFFFFFFF0),
        free_slot("in-header", "A free key slot's material is the header.",
                  "key material at 0", offset_sectors=0),
        free_slot("overlaps-slot",
                  "A free key slot's material is the active slot's.",
                  "overlap", "at 4096", offset_sectors=8),
    ]


def fields():
    return [
        header("magic", "The LUKS magic is wrong.", "magic",
               magic=b"LUKS\xba\xbf"),
        header("version-2", "The LUKS header is of version 2.",
               "version 2", version=2),
        header("cipher-name-unterminated",
               "The cipher's name has no end.", "cipher",
               cipher=b"a" * 32),
        header("hash-name-unterminated", "The hash's name has no end.",
               "hash", digest=b"s" * 32),
        header("key-bytes-0", "The key has no bytes.", "key has 0 bytes", "64",
               key_bytes=0),
        header("key-bytes-1024", "The key is longer than any cipher's.",
               "key has 1024 bytes", "64", key_bytes=1024),
        header("key-bytes-33", "No AES has a key of that length.",
               "key of 33 bytes", key_bytes=33),
        header("key-bytes-all-ones", "The key has the largest length.",
               "key has 4294967295 bytes", "64", key_bytes=0xFFFFFFFF),
        header("no-iterations", "The master key has no iterations.",
               "iterations", "0", iterations=0),
        header("cipher-unknown", "There is no such cipher.", "rot13",
               cipher=b"rot13"),
        header("mode-unknown", "There is no such mode.", "mode", "gcm",
               mode=b"gcm-random"),
        header("mode-newlines", "The mode's name breaks lines.", "mode",
               mode=b"xts\n\x1b[2J\n-plain64"),
        header("hash-unknown", "There is no such hash.", "md4",
               digest=b"md4"),
    ]


def area():
    pointless = Qcow2(MIB).extend(EXT_CRYPTO, (0x40200).to_bytes(8, "big")
                                  + LUKS_AREA_BYTES.to_bytes(8, "big"))
    return [
        refused("luks-area-past-end",
                "The LUKS area ends past the end of the file.",
                image(4096, LUKS_AREA_BYTES),
                f"LUKS area of {LUKS_AREA_BYTES} bytes"),
        refused("luks-area-2-63", "The LUKS area is 2^63 bytes long.",
                image(stated_bytes=1 << 63),
                f"encryption header of {1 << 63} bytes", str((1 << 63) - 1)),
        refused("luks-area-short",
                "The LUKS area is shorter than the LUKS header.",
                image(stated_bytes=512), "LUKS", "512 bytes", "592"),
        refused("luks-area-unaligned",
                "The LUKS area starts inside a cluster.",
                pointless.set(crypt_method=2).build(LUKS_AREA_BYTES * 2),
                "encryption header at offset 262656", "65536"),
        refused("crypt-method-luks-without-header",
                "The image says LUKS, but no extension says where.",
                Qcow2(MIB).set(crypt_method=2).build(), "LUKS", "extension")
        .fails("convert -O raw image out.raw", "image"),
    ]


def unlocking():
    bomb = {0: luks_slot(0, ACTIVE, 0xFFFFFFFF)}
    eight = {i: luks_slot(i, ACTIVE, 1 << 23) for i in range(8)}
    return [
        Case("luks-junk-key", "No key slot holds the key.", image(),
             needs=NEEDS, **{"pass": b"open sesame"})
        .run(INFO, stdout=["encrypted: yes"])
        .fails(UNLOCK, "passphrase").fails(
            "convert -O raw image out.raw", "key-secret"),
        Case("luks-slot-iterations",
             "A key slot asks for hours of key derivation.",
             image(slots=bomb), needs=NEEDS, **{"pass": b"open sesame"})
        .run(INFO, stdout=["iters: 4294967295"])
        .fails(UNLOCK, "slot 0", "4294968295 PBKDF2 iterations", "67108864"),
        Case("luks-master-iterations",
             "The master key asks for hours of key derivation.",
             image(iterations=0xFFFFFFFF), needs=NEEDS,
             **{"pass": b"open sesame"})
        .run(INFO, stdout=["master key iters: 4294967295"])
        .fails(UNLOCK, "slot 0", "4294968295 PBKDF2 iterations", "67108864"),
        Case("luks-no-active-slot", "All key slots are free.",
             image(slots={0: luks_slot(0)}), needs=NEEDS,
             **{"pass": b"open sesame"})
        .run(INFO).fails(UNLOCK, "slot"),
        Case("luks-empty-passphrase", "The passphrase is empty.", image(),
             needs=NEEDS, **{"pass": b""})
        .fails(UNLOCK, "passphrase"),
        Case("luks-cipher-serpent",
             "A cipher that exists, and that libcrypto lacks.",
             image(cipher=b"serpent"), needs=NEEDS,
             **{"pass": b"open sesame"})
        .fails(UNLOCK, "serpent"),
        Case("luks-iterations-in-all",
             "Eight slots, each under the limit, ask for more than it.",
             image(slots={**eight, 0: luks_slot(0, ACTIVE, (1 << 26) + 1)}),
             needs=NEEDS, **{"pass": b"open sesame"})
        .fails(UNLOCK, "iterations", "67108864"),
    ]


def cases():
    return area() + fields() + slots() + unlocking()
