# SPDX-License-Identifier: MIT
"""Names inside an image: backing files and external data files."""
import io
import tarfile

from builder import COPIED, EXT_DATA_FILE, Qcow2
from hazards.case import (CONVERT, INFO, Case, accepted, refused, unreadable,
                          zeroes)
from streams import deflate

MIB = 1 << 20
CLUSTER = 65536


def backed(name, form=None, size=MIB):
    """An empty overlay of the file `name`."""
    return Qcow2(size).back(name, form).build()


def small(name, form=b"qcow2"):
    """An overlay in as few bytes as can be."""
    return Qcow2(4096, cluster_bits=9).back(name, form).build(200)


def archive(members):
    """A tar file that is the same wherever and whenever it is made."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w",
                      format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return raw.getvalue()


def name_field():
    long_name = Qcow2(MIB).back(b"n" * 1024, b"raw")
    past = Qcow2(4096, cluster_bits=9).back(b"n" * 100, b"raw")
    return [
        refused("backing-name-too-long",
                "The backing file's name is longer than the limit.",
                long_name.build(), "backing file name has 1024 bytes", "1023"),
        refused("backing-name-all-ones",
                "The backing file's name has the largest length.",
                Qcow2(MIB).back(b"base", b"raw")
                .set(backing_bytes=0xFFFFFFFF).build(),
                "backing file name has 4294967295 bytes", "1023"),
        refused("backing-name-crosses-cluster",
                "The backing file's name ends behind the first cluster.",
                past.set(backing_offset=500).build(),
                "backing file name of 100 bytes at offset 500", "512"),
        refused("backing-name-offset-huge",
                "The backing file's name starts at the largest offset.",
                past.set(backing_offset=(1 << 64) - 100).build(),
                "backing file name of 100 bytes", str((1 << 64) - 100)),
        Case("backing-name-in-header",
             "The backing file's name lies in the header, and starts with NUL.",
             Qcow2(MIB).set(backing_offset=8, backing_bytes=8).build())
        .run(INFO, absent=["backing file"]).reads(bytes(MIB)),
        Case("backing-name-nul", "A NUL ends the backing file's name early.",
             backed(b"base\0/../../secret", b"raw"), base=b"b" * MIB)
        .run(INFO, stdout=["backing file: base"], absent=["secret"])
        .reads(b"b" * MIB),
        unreadable("backing-name-longest",
                   "The backing file's name is as long as the limit.",
                   backed(b"n" * 1023, b"raw"), "File name too long"),
        Case("backing-name-not-utf8",
             "The backing file's name is no UTF-8, which JSON must be.",
             backed(b"\xff\xfe\x80\"\\", b"raw"))
        .run(INFO).run("info --output=json image", stdout=["qcow2"])
        .fails(CONVERT, "No such file or directory"),
        unreadable("backing-name-newline",
                   "The backing file's name breaks lines in messages.",
                   backed(b"no\nsuch\x1b[2Jfile", b"raw"),
                   "No such file or directory"),
    ]


def loops():
    chain = [(f"n{i:03}", small(b"n%03d" % (i + 1))) for i in range(1, 256)]
    deep = archive(chain + [("n256", small(b"bottom", b"raw")),
                            ("bottom", b"b" * 4096)])
    return [
        Case("backing-loop-self", "The image is its own backing file.",
             small(b"image"))
        .run(INFO, stdout=["backing file: image"])
        .fails("info --backing-chain image", "image", "loop")
        .fails(CONVERT, "image", "loop"),
        Case("backing-loop-spelled-otherwise",
             "The image is its own backing file by another spelling.",
             small(b"././image"))
        .fails("info --backing-chain image", "image", "loop")
        .fails(CONVERT, "image", "loop"),
        Case("backing-loop-two", "Two images stand on one another.",
             small(b"other"), other=small(b"image"))
        .fails("info --backing-chain image", "image", "loop")
        .fails(CONVERT, "image", "loop")
        .fails("compare image image", "image", "loop", exit_code=2),
        Case("backing-chain-deep",
             "The chain of backing files has 257 images.",
             small(b"n001"), **{"files.tar": deep})
        .run(INFO)
        .fails(CONVERT, "chain", "200", memory=64)
        .fails("info --backing-chain image", "chain", "200", memory=64),
    ]


def kinds_of_file():
    return [
        Case("backing-fifo",
             "The backing file is a pipe that nobody writes to.",
             backed(b"pipe", b"raw"), setup=["fifo pipe"])
        .run(INFO, stdout=["backing file: pipe"])
        .fails(CONVERT, "'pipe'", "it is a pipe"),
        Case("backing-fifo-unrecorded",
             "The backing file is a pipe, and its format is to be probed.",
             backed(b"pipe"), setup=["fifo pipe"])
        .run(INFO).run(INFO, name="qemu-img")
        .fails(CONVERT, "it is a pipe", name="qemu-img"),
        Case("backing-directory", "The backing file is a directory.",
             backed(b"folder", b"raw"), setup=["folder folder"])
        .run(INFO).fails(CONVERT, "folder", "directory"),
        Case("backing-dev-zero", "The backing file is a device without end.",
             backed(b"/dev/zero", b"raw"))
        .run(INFO, stdout=["backing file: /dev/zero"])
        .fails(CONVERT, "/dev/zero", "character device"),
        Case("backing-absolute",
             "The backing file is a file of the host that info must not open.",
             backed(b"/nonexistent/etc/shadow", b"raw"))
        .run(INFO, stdout=["/nonexistent/etc/shadow"])
        .fails(CONVERT, "/nonexistent/etc/shadow", "No such file"),
    ]


def protocols():
    nest = (b'json:{"driver":"raw","file":' + b'{"file":' * 100 + b"1"
            + b"}" * 101)
    return [
        unreadable("backing-nbd", "The backing file is a network address.",
                   backed(b"nbd://127.0.0.1:1/disk", b"raw"),
                   "protocol 'nbd'"),
        unreadable("backing-json-nbd",
                   "A json: name asks for a network driver.",
                   backed(b'json:{"driver":"raw","file":{"driver":"nbd",'
                          b'"server":{"type":"unix","path":"/x"}}}', b"raw"),
                   "json: name", "driver 'nbd'"),
        unreadable("backing-json-nested",
                   "A json: name nests a hundred levels deep.",
                   backed(nest, b"raw"), "json: name", "limit of 16"),
        unreadable("backing-json-brackets",
                   "A json: name opens 1000 brackets.",
                   backed(b"json:" + b"[" * 1000, b"raw"),
                   "json: name"),
        unreadable("backing-json-garbage", "A json: name is no JSON.",
                   backed(b"json:{nope", b"raw"), "json: name"),
        unreadable("backing-json-throttle",
                   "A json: name asks for a filter driver.",
                   backed(b'json:{"driver":"throttle","file":{"driver":"file",'
                          b'"filename":"base"}}', b"raw"),
                   "driver 'throttle'"),
        Case("backing-json-driver",
             "A json: name and the recorded format differ: the name decides.",
             backed(b'json:{"driver":"raw","file.filename":"base"}', b"qcow2",
                    size=4096),
             base=Qcow2(MIB).build())
        .reads(Qcow2(MIB).build()[:4096]),
        Case("backing-json-data-file",
             "A json: name gives the backing file a data file of its own.",
             backed(b'json:{"driver":"qcow2","file.filename":"base",'
                    b'"data-file":{"driver":"file","filename":"secret"}}',
                    b"qcow2"),
             base=data_file().map(0, COPIED).build(), secret=b"s" * MIB)
        .run(INFO).fails(CONVERT, "base", "'data-file' of its own", "secret"),
        Case("backing-json-backing",
             "A json: name gives the backing file a backing file of its own.",
             backed(b'json:{"driver":"qcow2","file.filename":"base",'
                    b'"backing.driver":"raw","backing.file.filename":"secret"}',
                    b"qcow2"),
             base=Qcow2(MIB).build(), secret=b"s" * MIB)
        .run(INFO).fails(CONVERT, "base", "'backing' of its own", "secret"),
        Case("backing-json-negative-offset",
             "A json: name cuts a window with a negative offset.",
             backed(b'json:{"driver":"raw","offset":-1,"size":512,'
                    b'"file":{"driver":"file","filename":"base"}}', b"raw"),
             base=b"b" * MIB)
        .run(INFO).fails(CONVERT, "json: name", "'offset'"),
    ]


def formats():
    base = b"r" * MIB
    trap = backed(b"secret", b"raw", MIB)
    return [
        unreadable("backing-format-unknown",
                   "The backing file's format is one byre does not read.",
                   backed(b"base", b"vmdk"), "driver 'vmdk'", base=base),
        Case("backing-format-unrecorded",
             "Nobody recorded the backing file's format.",
             backed(b"base"), base=base)
        .run(INFO)
        .fails(CONVERT, "base", "--probe-backing")
        .reads(base, "convert --probe-backing -O raw image out.raw")
        .reads(base, name="qemu-img"),
        Case("backing-probe-trap",
             "A guest wrote a QCOW2 header into the raw backing file.",
             backed(b"base"), base=trap, secret=b"s" * MIB)
        .fails(CONVERT, "base", "--probe-backing"),
        Case("backing-raw-not-probed",
             "The backing file looks like QCOW2, but raw is recorded.",
             backed(b"base", b"raw"), base=trap, secret=b"s" * MIB)
        .run(INFO, stdout=["backing file format: raw"])
        .reads(trap[:MIB].ljust(MIB, b"\0")),
    ]


def data_file(name=b"data", size=MIB, raw=False):
    """An image whose clusters live in the file `name`."""
    image = Qcow2(size).set(incompatible=4, autoclear=2 if raw else 0)
    return image if name is None else image.extend(EXT_DATA_FILE, name)


def data_files():
    content = b"d" * CLUSTER
    shifted = data_file().map(1, COPIED)
    stored = data_file().map(1, CLUSTER | COPIED)
    packed = data_file()
    packed.compressed(0, deflate(content))
    return [
        Case("data-file-zero-elsewhere",
             "A zero entry reserves another place in the data file than its own.",
             data_file().map(2, CLUSTER | COPIED | 1).build(), data=zeroes(MIB))
        .run(INFO).fails(CONVERT, "L2 entry", "data file"),
        Case("data-file-elsewhere",
             "An entry points elsewhere in the data file than its own place.",
             shifted.build(), data=content + zeroes(MIB - CLUSTER))
        .run(INFO, stdout=["data file: data"]).fails(CONVERT, "L2 entry"),
        Case("data-file-good", "The same image as it should be.",
             stored.build(), data=zeroes(CLUSTER) + content)
        .reads(zeroes(CLUSTER) + content + zeroes(MIB - 2 * CLUSTER)),
        Case("data-file-compressed",
             "A compressed cluster in an image with a data file.",
             packed.build(), data=content)
        .fails(CONVERT, "ompressed"),
        Case("data-file-short", "The data file ends before the disk does.",
             stored.build(), data=b"x")
        .reads(zeroes(MIB)),
        unreadable("data-file-unnamed",
                   "The image needs a data file and does not name it.",
                   data_file(None).build(), "'data-file' is required"),
        unreadable("data-file-json",
                   "The data file's name is a json: tree: a plain name here.",
                   data_file(b'json:{"driver":"file","filename":"data"}')
                   .build(), "No such file", data=content),
        unreadable("data-file-protocol",
                   "The data file's name is an address: a plain name here.",
                   data_file(b"nbd://127.0.0.1:1/disk").build(),
                   "No such file"),
        Case("data-file-fifo",
             "The data file is a pipe that nobody writes to.",
             data_file(b"pipe").build(), setup=["fifo pipe"])
        .run(INFO, stdout=["data file: pipe"])
        .fails(CONVERT, "'pipe'", "it is a pipe"),
        Case("data-file-directory", "The data file is a directory.",
             data_file(b"folder").build(), setup=["folder folder"])
        .run(INFO).fails(CONVERT, "folder", "directory"),
        Case("data-file-dev-zero",
             "The data file is a device without end.",
             data_file(b"/dev/zero").build())
        .run(INFO).fails(CONVERT, "/dev/zero", "character device"),
        refused("data-file-raw-without-data-file",
                "The data file alone is the disk, but there is none.",
                Qcow2(MIB).set(autoclear=2).build(), "data file"),
        Case("data-file-raw-with-backing",
             "The data file alone is the disk, says a bit; the tables differ.",
             data_file(raw=True).back(b"base", b"raw").build(),
             data=b"d" * MIB, base=b"b" * MIB).run(INFO).reads(b"b" * MIB),
        accepted("data-file-name-without-bit",
                 "A data file is named, but the image has none.",
                 Qcow2(MIB).extend(EXT_DATA_FILE, b"nonexistent").build(),
                 zeroes(MIB)),
        unreadable("data-file-name-nul",
                   "A NUL ends the data file's name before it starts.",
                   data_file(b"\0data").build(), "'data-file' is required"),
    ]


def cases():
    return (name_field() + loops() + kinds_of_file() + protocols() + formats()
            + data_files())
