# SPDX-License-Identifier: MIT
"""
The command lines with which programs call qemu-img, as they are known from
their sources and logs; see callers.py, which runs them.
"""

from dataclasses import dataclass


@dataclass
class Row:
    """One command line of one caller.

    `needs` are fixtures that are copied into the folder it runs in, `results`
    the images it makes or changes.  `progress`: stdout is the line of -p;
    `raw`: stdout is a disk.  `stderr`: what callers look for in it if the
    command fails.  `luks`: QEMU may fail to time itself.
    """
    caller: str
    argv: list
    needs: tuple = ()
    results: tuple = ()
    progress: bool = False
    raw: bool = False
    stderr: bytes = b""
    luks: bool = False
    key: str = ""  # the file with the secret of `results`
    # What Debian's tool is given instead, where it is too old for the line.
    theirs: tuple = ()

    @property
    def name(self):
        return "%s: %s" % (self.caller, " ".join(self.argv))


def rows(caller, *entries):
    made = []
    for entry in entries:
        line, options = (entry, {}) if isinstance(entry, str) else entry
        made.append(Row(caller, line.split(), **options))
    return made


def on(*needs, out=(), **options):
    """Options of a row: its fixtures, and the images that come out of it."""
    return dict(needs=needs, results=tuple(out), **options)


BASE = ("base.qcow2", "base.raw")
CHAIN = ("base.qcow2", "mid.qcow2", "top.qcow2")
TREE = '{"driver":"qcow2","file":{"driver":"file","filename":"top.qcow2"}%s}'

SECRETS = ("--object secret,id=X,file=key.one",
           "--object secret,id=Y,file=key.two")
LUKS = "encrypt.format=luks,encrypt.key-secret=X"
OPEN_X = "driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=X"


NOVA = rows(
    "nova",
    ("qemu-img info disk.qcow2 --force-share --output=json", on("disk.qcow2")),
    ("qemu-img info disk.qcow2 --force-share --output=json -f qcow2",
     on("disk.qcow2")),
    ("qemu-img info nothing --force-share --output=json",
     on(stderr=b"No such file or directory")),
    ("qemu-img convert -t none -O raw -f qcow2 disk.qcow2 out",
     on("disk.qcow2", out=["out"])),
    ("qemu-img convert -t writeback -O qcow2 -f raw base.raw out",
     on("base.raw", out=["out"])),
    ("qemu-img convert -t none -O qcow2 -f qcow2 -c disk.qcow2 out",
     on("disk.qcow2", out=["out"])),
    ("qemu-img convert -t none -O raw --object secret,id=sec0,file=key.one "
     "--image-opts driver=qcow2,file.driver=file,file.filename=luks.qcow2,"
     "encrypt.key-secret=sec0 out", on("luks.qcow2", "key.one", out=["out"])),
    ("qemu-img convert -t none -O qcow2 -f raw "
     "--object secret,id=sec1,file=key.one -o encrypt.key-secret=sec1 "
     "-o encrypt.format=luks -o encrypt.cipher-alg=aes-256 "
     "-o encrypt.cipher-mode=xts -o encrypt.hash-alg=sha256 "
     "-o encrypt.iter-time=2000 -o encrypt.ivgen-alg=plain64 "
     "-o encrypt.ivgen-hash-alg=sha256 base.raw out",
     on("base.raw", "key.one", out=["out"], luks=True, key="key.one")),
    ("qemu-img create -f qcow2 out 1G", on(out=["out"])),
    ("qemu-img create -f qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2 "
     "out", on(*BASE, out=["out"])),
    ("qemu-img resize -f qcow2 disk.qcow2 1073741824",
     on("disk.qcow2", out=["disk.qcow2"])),
    ("qemu-img resize -f raw base.raw 16M", on("base.raw", out=["base.raw"])),
    ("qemu-img rebase -b base.qcow2 -F qcow2 top.qcow2",
     on(*CHAIN, out=["top.qcow2"])),
)
NOVA.append(Row("nova", ["qemu-img", "rebase", "-b", "", "top.qcow2"], CHAIN,
                ("top.qcow2",)))

CINDER = rows(
    "cinder",
    ("qemu-img info -f qcow2 --output=json --force-share disk.qcow2",
     on("disk.qcow2")),
    ("qemu-img info -f raw --output=json base.raw", on("base.raw")),
    ("qemu-img convert -O raw -t none -f qcow2 disk.qcow2 out",
     on("disk.qcow2", out=["out"])),
    ("qemu-img convert -O raw -S 0 -f qcow2 disk.qcow2 out",
     on("disk.qcow2", out=["out"])),
    ("qemu-img convert -O qcow2 -c -f raw base.raw out",
     on("base.raw", out=["out"])),
    ("qemu-img convert --object secret,id=sec1,format=raw,file=key.one "
     "--object secret,id=sec2,format=raw,file=key.two "
     "--image-opts driver=qcow2,encrypt.format=luks,encrypt.key-secret=sec1,"
     "file.filename=luks.qcow2 -O qcow2 "
     "-o encrypt.format=luks,encrypt.key-secret=sec2,encrypt.iter-time=10 out",
     on("luks.qcow2", "key.one", "key.two", out=["out"], luks=True,
        key="key.two")),
    ("qemu-img resize disk.qcow2 2G", on("disk.qcow2", out=["disk.qcow2"])),
    ("qemu-img resize -f raw base.raw 1G", on("base.raw", out=["base.raw"])),
)
CINDER.append(Row("cinder", ["sh", "-c", "qemu-img --version | "
                  "grep -c '^qemu-img version [0-9][0-9]*\\.[0-9.]*'"]))

GLANCE = rows(
    "glance",
    ("qemu-img info -f qcow2 --output=json disk.qcow2", on("disk.qcow2")),
    ("qemu-img info -f qcow2 --output=json data.qcow2",
     on("data.qcow2", "data.raw")),
    ("prlimit --as=1073741824 --cpu=2 qemu-img info -f qcow2 --output=json "
     "top.qcow2", on(*CHAIN)),
    ("prlimit --as=1073741824 qemu-img convert -f qcow2 -O raw disk.qcow2 out",
     on("disk.qcow2", out=["out"])),
    ("prlimit --as=1073741824 qemu-img convert -m 16 -W -f qcow2 -O raw "
     "disk.qcow2 out", on("disk.qcow2", out=["out"])),
    ("qemu-img convert -f raw -O qcow2 base.raw out",
     on("base.raw", out=["out"])),
    ("qemu-img info -f qcow2 --output=json base.raw", on("base.raw")),
)

IRONIC = rows(
    "ironic-python-agent",
    ("qemu-img info disk.qcow2 --output=json", on("disk.qcow2")),
    ("qemu-img convert -O raw -t writeback -S 64k -f qcow2 -W disk.qcow2 out",
     on("disk.qcow2", out=["out"])),
    ("env MALLOC_ARENA_MAX=3 prlimit --as=2147483648 qemu-img convert -O raw "
     "disk.qcow2 out", on("disk.qcow2", out=["out"])),
)


def vdsm():
    made = rows(
        "vdsm",
        ("qemu-img info --output json disk.qcow2", on("disk.qcow2")),
        ("qemu-img info --output json -f qcow2 -U disk.qcow2",
         on("disk.qcow2")),
        ("qemu-img info --output json --backing-chain -U top.qcow2",
         on(*CHAIN)),
        ("qemu-img create -f qcow2 -o compat=0.10 out 1073741824",
         on(out=["out"])),
        ("qemu-img create -f qcow2 -o compat=1.1 -b base.qcow2 -F qcow2 out",
         on(*BASE, out=["out"])),
        ("qemu-img create -f qcow2 -u -o compat=1.1 -b nothing -F qcow2 out 1G",
         on(out=["out"])),
        ("qemu-img create -f raw -o preallocation=falloc out 4194304",
         on(out=["out"])),
        ("qemu-img create -f qcow2 -o compat=1.1 -o preallocation=metadata out "
         "4194304", on(out=["out"])),
        ("qemu-img check --output json -f qcow2 disk.qcow2", on("disk.qcow2")),
        ("qemu-img check --output json leaky.qcow2", on("leaky.qcow2")),
        ("qemu-img check --output json -f qcow2 base.raw", on("base.raw")),
        ("qemu-img convert -p -t none -T none -f qcow2 -O raw disk.qcow2 out",
         on("disk.qcow2", out=["out"], progress=True)),
        ("qemu-img convert -p -t none -T none -f raw -O qcow2 -o compat=1.1 "
         "base.raw out", on("base.raw", out=["out"], progress=True)),
        ("qemu-img convert -p -t none -T none -f qcow2 -O qcow2 "
         "-o compat=1.1,backing_file=base.qcow2,backing_fmt=qcow2 mid.qcow2 "
         "out", on(*CHAIN, out=["out"], progress=True)),
        ("qemu-img convert -p -t none -T none -f qcow2 -O qcow2 -o compat=0.10 "
         "-B base.qcow2 -F qcow2 mid.qcow2 out",
         on(*CHAIN, out=["out"], progress=True)),
        ("qemu-img convert -p -t none -T none -f qcow2 -O raw -n "
         "--target-is-zero -W disk.qcow2 zero.raw",
         on("disk.qcow2", "zero.raw", out=["zero.raw"], progress=True)),
        ("qemu-img convert -p -t none -T none -f qcow2 -O qcow2 -o compat=1.1 "
         "-c disk.qcow2 out", on("disk.qcow2", out=["out"], progress=True)),
        ("qemu-img convert -p -t none -T none -f qcow2 -O qcow2 -o compat=1.1 "
         "--bitmaps --skip-broken-bitmaps bitmaps.qcow2 out",
         on("bitmaps.qcow2", out=["out"], progress=True)),
        ("qemu-img commit -p -t none -b base.qcow2 -f qcow2 top.qcow2",
         on(*CHAIN, out=["base.qcow2", "top.qcow2"], progress=True)),
        ("qemu-img commit -p -t none -d -f qcow2 top.qcow2",
         on(*CHAIN, out=["mid.qcow2"], progress=True)),
        ("qemu-img map --output json disk.qcow2", on("disk.qcow2")),
        ("qemu-img map --output json top.qcow2", on(*CHAIN)),
        ("qemu-img amend -o compat=1.1 v2.qcow2",
         on("v2.qcow2", out=["v2.qcow2"])),
        ("qemu-img amend -o compat=0.10 disk.qcow2",
         on("disk.qcow2", out=["disk.qcow2"])),
        ("qemu-img resize -f qcow2 disk.qcow2 8388608",
         on("disk.qcow2", out=["disk.qcow2"])),
        ("qemu-img rebase -t none -T none -f qcow2 -F qcow2 -b base.qcow2 "
         "top.qcow2", on(*CHAIN, out=["top.qcow2"])),
        ("qemu-img rebase -t none -T none -u -f qcow2 -F qcow2 -b base.qcow2 "
         "top.qcow2", on(*CHAIN, out=["top.qcow2"])),
        ("qemu-img compare -p -f raw -F qcow2 same.raw disk.qcow2",
         on("same.raw", "disk.qcow2", progress=True)),
        ("qemu-img compare -p -s -f raw -F qcow2 base.raw disk.qcow2",
         on("base.raw", "disk.qcow2", progress=True)),
        ("qemu-img bitmap --add --enable disk.qcow2 b0 -g 65536",
         on("disk.qcow2", out=["disk.qcow2"])),
        ("qemu-img bitmap --add --disable disk.qcow2 b0",
         on("disk.qcow2", out=["disk.qcow2"])),
        ("qemu-img bitmap --remove bitmaps.qcow2 one",
         on("bitmaps.qcow2", out=["bitmaps.qcow2"])),
        ("qemu-img bitmap --remove bitmaps.qcow2 nosuch",
         on("bitmaps.qcow2", out=["bitmaps.qcow2"])),
        ("qemu-img bitmap --merge one -F qcow2 -b bitmaps.qcow2 other.qcow2 "
         "two", on("bitmaps.qcow2", "other.qcow2", out=["other.qcow2"])),
        ("qemu-img bitmap --disable bitmaps.qcow2 one",
         on("bitmaps.qcow2", out=["bitmaps.qcow2"])),
        ("qemu-img bitmap --enable bitmaps.qcow2 off",
         on("bitmaps.qcow2", out=["bitmaps.qcow2"])),
        ("qemu-img bitmap --clear bitmaps.qcow2 one",
         on("bitmaps.qcow2", out=["bitmaps.qcow2"])),
    )
    for extra in (',"backing":null', ""):
        for flags in ("-O raw", "-O qcow2", "--force-share -O qcow2"):
            made.append(Row("vdsm", ["qemu-img", "measure", "--output", "json"]
                            + flags.split() + ["json:" + TREE % extra], CHAIN))
    return made


IMAGEIO = rows(
    "ovirt-imageio",
    ("qemu-img create -f qcow2 -q out 4194304", on(out=["out"])),
    ("qemu-img create -f qcow2 -b base.qcow2 -F qcow2 out 8388608",
     on(*BASE, out=["out"])),
    ("qemu-img convert -f raw -O qcow2 -c base.raw out",
     on("base.raw", out=["out"])),
    ("qemu-img convert -p -f qcow2 -O raw disk.qcow2 out",
     on("disk.qcow2", out=["out"], progress=True)),
    ("qemu-img rebase -u -b base.qcow2 -F qcow2 top.qcow2",
     on(*CHAIN, out=["top.qcow2"])),
    ("qemu-img info --output json disk.qcow2", on("disk.qcow2")),
    ("qemu-img measure --output json -O qcow2 disk.qcow2", on("disk.qcow2")),
    ("qemu-img compare -f raw -F qcow2 same.raw disk.qcow2",
     on("same.raw", "disk.qcow2")),
    ("qemu-img compare -s -f qcow2 -F qcow2 disk.qcow2 disk.qcow2",
     on("disk.qcow2")),
    ("qemu-img compare -f raw -F qcow2 base.raw disk.qcow2",
     on("base.raw", "disk.qcow2")),
    ("qemu-img bitmap --add disk.qcow2 stale",
     on("disk.qcow2", out=["disk.qcow2"])),
)

LIBVIRT = rows(
    "libvirt",
    ("qemu-img create -f qcow2 -o compat=0.10 out 65536K", on(out=["out"])),
    ("qemu-img create -f qcow2 -o preallocation=metadata,compat=0.10 out "
     "5242K", on(out=["out"])),
    ("qemu-img create -f qcow2 -o nocow=on,compat=1.1 out 65536K",
     on(out=["out"])),
    ("qemu-img create -f qcow2 -b base.raw -o backing_fmt=raw,compat=0.10 out "
     "65536K", on("base.raw", out=["out"])),
    ("qemu-img create -f qcow2 -b base.qcow2 -o backing_fmt=qcow2,compat=0.10 "
     "out 65536K", on(*BASE, out=["out"])),
    ("qemu-img create -f qcow2 "
     "-o compat=1.1,cluster_size=131072,lazy_refcounts out 49152K",
     on(out=["out"])),
    ("qemu-img create -f qcow2 -o help /dev/null", {}),
    ("qemu-img convert -f raw -O qcow2 -o preallocation=metadata,compat=0.10 "
     "base.raw out", on("base.raw", out=["out"])),
    ("qemu-img convert -f raw -O qcow2 -o compat=1.1,lazy_refcounts base.raw "
     "out", on("base.raw", out=["out"])),
    ("qemu-img convert -f qcow2 -O qcow2 -o compat=0.10 disk.qcow2 out",
     on("disk.qcow2", out=["out"])),
    ("qemu-img create -f qcow2 %s -o %s,encrypt.iter-time=10,compat=0.10 out "
     "16384K" % (SECRETS[0], LUKS),
     on("key.one", out=["out"], luks=True, key="key.one")),
    ("qemu-img convert --image-opts -n --target-image-opts %s %s %s "
     "driver=qcow2,file.filename=luks2.qcow2,encrypt.key-secret=Y"
     % (SECRETS + (OPEN_X,)),
     on("luks.qcow2", "luks2.qcow2", "key.one", "key.two", out=["luks2.qcow2"],
        key="key.two")),
    ("qemu-img resize %s --image-opts "
     "driver=qcow2,encrypt.key-secret=X,file.filename=luks.qcow2 8388608"
     % SECRETS[0],
     on("luks.qcow2", "key.one", out=["luks.qcow2"], key="key.one")),
    ("qemu-img resize disk.qcow2 8388608",
     on("disk.qcow2", out=["disk.qcow2"])),
    ("qemu-img resize --shrink disk.qcow2 2097152",
     on("disk.qcow2", out=["disk.qcow2"])),
    ("qemu-img snapshot -c new disk.qcow2",
     on("disk.qcow2", out=["disk.qcow2"])),
    ("qemu-img snapshot -a first snap.qcow2",
     on("snap.qcow2", out=["snap.qcow2"])),
    ("qemu-img snapshot -d first snap.qcow2",
     on("snap.qcow2", out=["snap.qcow2"])),
    ("qemu-img snapshot -a nosuch snap.qcow2",
     on("snap.qcow2", out=["snap.qcow2"])),
    ("qemu-img snapshot -l snap.qcow2", on("snap.qcow2")),
    ("qemu-img create -f qcow2 -o backing_fmt=qcow2,backing_file=base.qcow2 "
     "out", on(*BASE, out=["out"])),
)
LIBVIRT.append(Row("libvirt", ["sh", "-c", "qemu-img create -o '?' -f qcow2 "
                               "/dev/null | grep -c '^ *compat'"]))

GUESTFS = rows(
    "libguestfs",
    ("qemu-img create -f qcow2 out 67108864", on(out=["out"])),
    ("qemu-img create -f qcow2 "
     "-o preallocation=metadata,compat=0.10,cluster_size=4096 ./out 4194304",
     on(out=["out"])),
    ("qemu-img create -f qcow2 "
     "-o preallocation=falloc,compat=1.1,cluster_size=65536 ./out 4194304",
     on(out=["out"])),
    ("qemu-img create -f qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2 "
     "./out", on(*BASE, out=["out"])),
    ("qemu-img create -f qcow2 -o backing_file=base.raw,backing_fmt=raw ./out",
     on("base.raw", out=["out"])),
    ("qemu-img info -U --output json disk.qcow2", on("disk.qcow2")),
    ("qemu-img dd if=disk.qcow2 of=out bs=256k count=1",
     on("disk.qcow2", out=["out"])),
    ("qemu-img create -f qcow2 -o preallocation=metadata ./m.qcow2 26208127",
     on(out=["m.qcow2"])),
    ("qemu-img create -f qcow2 "
     "-o backing_file=base.qcow2,backing_fmt=qcow2,compat=1.1 T",
     on(*BASE, out=["T"])),
    ("qemu-img convert -f qcow2 -O qcow2 -c -o compat=1.1 disk.qcow2 O",
     on("disk.qcow2", out=["O"])),
    ("qemu-img convert -f qcow2 -O raw top.qcow2 O", on(*CHAIN, out=["O"])),
    ("qemu-img resize disk.qcow2 16M", on("disk.qcow2", out=["disk.qcow2"])),
    ("qemu-img convert -f qcow2 disk.qcow2 -O raw out",
     on("disk.qcow2", out=["out"])),
    ("qemu-img convert disk.qcow2 -O qcow2 out", on("disk.qcow2", out=["out"])),
)
GUESTFS += [
    Row("libguestfs", ["sh", "-c", "qemu-img --help | "
                       "grep -c '\\binfo\\b.*-U\\b'"]),
    Row("virt-v2v", ["qemu-img", "info", "--output=json",
                     'json:{"driver":"raw","offset":512,"size":1048576,'
                     '"file":{"driver":"file","filename":"base.raw"}}'],
        ("base.raw",)),
]

PVE = rows(
    "Proxmox VE",
    ("qemu-img create -o preallocation=off -f raw out 4096K", on(out=["out"])),
    ("qemu-img create -o preallocation=metadata -f qcow2 out 4096K",
     on(out=["out"])),
    ("qemu-img create -F qcow2 -b base.qcow2 -f qcow2 out "
     "-o extended_l2=on,cluster_size=128k", on(*BASE, out=["out"])),
    ("qemu-img create -F qcow2 -b base.qcow2 -f qcow2 out "
     "-o extended_l2=on,cluster_size=128k,preallocation=metadata",
     on(*BASE, out=["out"])),
    ("qemu-img info --output=json disk.qcow2 -f qcow2", on("disk.qcow2")),
    ("qemu-img info --output=json extended.qcow2 -f qcow2 --backing-chain",
     on("base.qcow2", "extended.qcow2")),
    ("qemu-img measure --output=json --size 4194304K -O qcow2", {}),
    ("qemu-img measure --output=json --size 4194304K -O raw", {}),
    ("qemu-img measure --output=json --size 4194304K -O qcow2 "
     "-o extended_l2=on,cluster_size=128k", {}),
    ("qemu-img resize --preallocation=metadata -f qcow2 disk.qcow2 8388608",
     on("disk.qcow2", out=["disk.qcow2"])),
    ("qemu-img resize -f raw base.raw 8388608",
     on("base.raw", out=["base.raw"])),
    ("qemu-img commit extended.qcow2",
     on("base.qcow2", "extended.qcow2", out=["base.qcow2", "extended.qcow2"])),
    ("qemu-img rebase -b base.qcow2 -F qcow2 -f qcow2 top.qcow2",
     on(*CHAIN, out=["top.qcow2"])),
    ("qemu-img snapshot -c new disk.qcow2",
     on("disk.qcow2", out=["disk.qcow2"])),
    ("qemu-img snapshot -a first snap.qcow2",
     on("snap.qcow2", out=["snap.qcow2"])),
    ("qemu-img snapshot -d first snap.qcow2",
     on("snap.qcow2", out=["snap.qcow2"])),
    # zeroinit: is Proxmox' own.
    ("qemu-img convert -p -n -f qcow2 -O raw disk.qcow2 zeroinit:zero.raw",
     on("disk.qcow2", "zero.raw", out=["zero.raw"], progress=True,
        theirs="qemu-img convert -p -n -f qcow2 -O raw disk.qcow2 zero.raw"
        .split())),
    ("qemu-img convert -p -n -l snapshot.name=first -f qcow2 -O raw snap.qcow2 "
     "zeroinit:zero.raw",
     on("snap.qcow2", "zero.raw", out=["zero.raw"], progress=True,
        theirs="qemu-img convert -p -n -l snapshot.name=first -f qcow2 -O raw "
        "snap.qcow2 zero.raw".split())),
    ("qemu-img convert -p -n -t none -T none -r 102400K -f qcow2 -O qcow2 "
     "disk.qcow2 empty.qcow2",
     on("disk.qcow2", "empty.qcow2", out=["empty.qcow2"], progress=True)),
    # So is a pipe as the target.
    ("qemu-img convert -f qcow2 -O raw disk.qcow2 /dev/stdout",
     on("disk.qcow2", raw=True, theirs=(
         "sh", "-c", "qemu-img convert -O raw disk.qcow2 out && cat out"))),
    # discard-no-unref came with 8.1.
    ("qemu-img convert -p -n --image-opts --target-image-opts "
     "driver=qcow2,file.driver=file,file.filename=disk.qcow2 "
     "driver=qcow2,file.driver=file,file.filename=empty.qcow2,"
     "discard-no-unref=true",
     on("disk.qcow2", "empty.qcow2", out=["empty.qcow2"], progress=True,
        theirs="qemu-img convert -p -n -O qcow2 disk.qcow2 empty.qcow2"
        .split())),
)

OTHERS = rows(
    "Packer",
    ("qemu-img create -f qcow2 out 64M", on(out=["out"])),
    ("qemu-img create -f qcow2 -b base.qcow2 -F qcow2 out 64M",
     on(*BASE, out=["out"])),
    ("qemu-img convert -c -O qcow2 disk.qcow2 out",
     on("disk.qcow2", out=["out"])),
    ("qemu-img resize -f qcow2 disk.qcow2 64M",
     on("disk.qcow2", out=["disk.qcow2"])),
) + rows(
    "lima",
    ("qemu-img info --output=json --force-share disk.qcow2", on("disk.qcow2")),
    ("qemu-img create -f qcow2 out 67108864", on(out=["out"])),
    ("qemu-img resize -f qcow2 disk.qcow2 67108864",
     on("disk.qcow2", out=["disk.qcow2"])),
    ("qemu-img convert -O raw disk.qcow2 out", on("disk.qcow2", out=["out"])),
    ("qemu-img snapshot -l snap.qcow2", on("snap.qcow2")),
) + rows(
    "incus",
    ("prlimit --cpu=2 --as=1073741824 qemu-img info -f qcow2 --output=json "
     "disk.qcow2", on("disk.qcow2")),
    ("nice -n19 qemu-img convert -p -f qcow2 -O raw -t writeback disk.qcow2 "
     "out", on("disk.qcow2", out=["out"], progress=True)),
    ("nice -n19 qemu-img convert -p -f qcow2 -O raw -T none -t none -W -n "
     "--target-is-zero disk.qcow2 zero.raw",
     on("disk.qcow2", "zero.raw", out=["zero.raw"], progress=True)),
    ("qemu-img convert -f raw -O qcow2 -c base.raw out",
     on("base.raw", out=["out"])),
    ("qemu-img create -f qcow2 out 4194304b", on(out=["out"])),
    ("qemu-img create -f qcow2 -b base.qcow2 -F qcow2 out 8388608b",
     on(*BASE, out=["out"])),
    ("qemu-img create -f qcow2 "
     "-o data_file=new.raw,data_file_raw=on,preallocation=metadata out "
     "4194304b", on(out=["out"])),
    ("qemu-img resize disk.qcow2 8388608b",
     on("disk.qcow2", out=["disk.qcow2"])),
    ("qemu-img resize --preallocation=metadata --image-opts "
     "driver=qcow2,file.filename=data.qcow2,data-file.driver=file,"
     "data-file.filename=data.raw 8388608",
     on("data.qcow2", "data.raw", out=["data.qcow2"])),
    ("qemu-img rebase -u -b base.qcow2 -F qcow2 top.qcow2",
     on(*CHAIN, out=["top.qcow2"])),
    ("qemu-img commit -f qcow2 mid.qcow2",
     on(*CHAIN[:2], out=["base.qcow2", "mid.qcow2"])),
    ("qemu-img info -U --backing-chain --output=json top.qcow2", on(*CHAIN)),
    ("qemu-img measure --output=json -O qcow2 --size 10737418240", {}),
) + rows(
    "KubeVirt CDI",
    ("qemu-img info --output=json disk.qcow2", on("disk.qcow2")),
    ("qemu-img convert -t none -p -O raw disk.qcow2 out",
     on("disk.qcow2", out=["out"], progress=True)),
    ("qemu-img convert -t writeback -p -O raw -o preallocation=falloc "
     "disk.qcow2 out", on("disk.qcow2", out=["out"], progress=True)),
    ("qemu-img convert -t writeback -p -O raw -o preallocation=full disk.qcow2 "
     "out", on("disk.qcow2", out=["out"], progress=True)),
    ("qemu-img convert -t writeback -p -O raw -S 0 disk.qcow2 out",
     on("disk.qcow2", out=["out"], progress=True)),
    ("qemu-img resize -f raw base.raw 8388608 --preallocation=falloc",
     on("base.raw", out=["base.raw"], theirs="qemu-img resize -f raw "
        "--preallocation=falloc base.raw 8388608".split())),
    ("qemu-img resize -f raw base.raw 8388608 --preallocation=full",
     on("base.raw", out=["base.raw"], theirs="qemu-img resize -f raw "
        "--preallocation=full base.raw 8388608".split())),
    ("qemu-img create -f raw out 4194304 -o preallocation=falloc",
     on(out=["out"])),
    ("qemu-img rebase -p -u -F qcow2 -b base.qcow2 top.qcow2",
     on(*CHAIN, out=["top.qcow2"], progress=True)),
    ("qemu-img commit -p top.qcow2",
     on(*CHAIN, out=["mid.qcow2", "top.qcow2"], progress=True)),
) + rows(
    "oslo.utils",
    ("qemu-img info --force-share --output=human disk.qcow2", on("disk.qcow2")),
    ("qemu-img info --force-share --output=json snap.qcow2", on("snap.qcow2")),
    ("qemu-img info --force-share --output=human snap.qcow2", on("snap.qcow2")),
) + rows(
    "others",
    ("qemu-img convert -f raw -O qcow2 base.raw out",
     on("base.raw", out=["out"])),
    ("qemu-img create -f raw out 20M", on(out=["out"])),
    ("qemu-img create -f qcow2 -F qcow2 -b base.qcow2 overlay.img",
     on(*BASE, out=["overlay.img"])),
    ("qemu-img resize -f qcow2 disk.qcow2 +4M",
     on("disk.qcow2", out=["disk.qcow2"])),
    ("qemu-img convert -onocow=on -fraw -Oqcow2 base.raw out",
     on("base.raw", out=["out"])),
    ("qemu-img info disk.qcow2", on("disk.qcow2")),
    ("qemu-img info top.qcow2", on(*CHAIN)),
    ("qemu-img info --backing-chain top.qcow2", on(*CHAIN)),
    ("qemu-img info luks.qcow2", on("luks.qcow2")),
    ("qemu-img info v1.qcow", on("v1.qcow")),
    ("qemu-img info data.qcow2", on("data.qcow2", "data.raw")),
    ("qemu-img info bitmaps.qcow2", on("bitmaps.qcow2")),
    ("qemu-img map disk.qcow2", on("disk.qcow2")),
    ("qemu-img map --output=json v1.qcow", on("v1.qcow")),
    ("qemu-img check disk.qcow2", on("disk.qcow2")),
    ("qemu-img check leaky.qcow2", on("leaky.qcow2")),
    ("qemu-img check -r leaks leaky.qcow2",
     on("leaky.qcow2", out=["leaky.qcow2"])),
    ("qemu-img check -f raw base.raw", on("base.raw")),
    ("qemu-img check nothing", on(stderr=b"No such file or directory")),
    ("qemu-img convert -O raw v1.qcow out", on("v1.qcow", out=["out"])),
    ("qemu-img convert -f raw -O qcow base.raw out",
     on("base.raw", out=["out"])),
    ("qemu-img create -f qcow out 64M", on(out=["out"])),
    ("qemu-img measure -O qcow2 disk.qcow2", on("disk.qcow2")),
    ("qemu-img rebase -b nothing -F qcow2 top.qcow2",
     on(*CHAIN, stderr=b"No such file or directory")),
)

ROWS = (NOVA + CINDER + GLANCE + IRONIC + vdsm() + IMAGEIO + LIBVIRT + GUESTFS +
        PVE + OTHERS)
