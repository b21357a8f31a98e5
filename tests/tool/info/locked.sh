# Without this packer, which tries again on `Failed to get shared "write" lock`,
# would give up, and -U could not look at a running machine's disk.
. "$TOOLS/functions.sh"
qemu-img create -q -f qcow2 a.qcow2 1M
cat >holder.py <<'END'
# Holds the bytes that a writer of QEMU holds while the commands run.
import fcntl, os, struct, subprocess, sys
image = os.open('a.qcow2', os.O_RDWR)
for first, count in ((100, 2), (103, 1), (201, 1), (203, 1)):
    fcntl.fcntl(image, fcntl.F_OFD_SETLK,
                struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, first, count, 0))
for command in (['info'], ['info', '-U'], ['map'], ['map', '-U'],
                ['compare', '-q', 'a.qcow2'], ['compare', '-U', '-q', 'a.qcow2']):
    done = subprocess.run([sys.argv[1], *command, 'a.qcow2'],
                          capture_output=True, text=True)
    print(*command, done.returncode)
    print(done.stderr.replace(f'process {os.getpid()} ', 'process PID '), end='')
END
python3 holder.py "$BYRE"
