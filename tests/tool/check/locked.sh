# Without this an image could be checked, or repaired, under the hands of a
# writer.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 1M
cat >holder.py <<'END'
# Holds the bytes that a writer of QEMU holds, or a reader, while commands run.
import fcntl, os, struct, subprocess, sys

def hold(ranges):
    image = os.open('a.qcow2', os.O_RDWR)
    for first, count in ranges:
        fcntl.fcntl(image, fcntl.F_OFD_SETLK,
                    struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, first, count, 0))
    return image

for name, ranges in (('writer', ((100, 2), (103, 1), (201, 1), (203, 1))),
                     ('reader', ((100, 1), (201, 1), (203, 1)))):
    image = hold(ranges)
    for command in ['-q'], ['-q', '-U'], ['-q', '-r', 'all']:
        done = subprocess.run([sys.argv[1], 'check', *command, 'a.qcow2'],
                              capture_output=True, text=True)
        print(name, *command, done.returncode)
        print(done.stderr.replace(f'process {os.getpid()} ', 'process PID '),
              end='')
    os.close(image)
END
python3 holder.py "$BYRE"
