# Without this requests could go elsewhere than they are said to, or be left out.
. "$TOOLS/bench/common.inc"

# Shows in which blocks of $1 bytes of b.raw there is something.
filled() {
    python3 - "$1" <<'END'
import sys
size = int(sys.argv[1])
data = open('b.raw', 'rb').read()
runs = []
for i in range(0, len(data), size):
    block = data[i:i + size]
    runs.append('.' if not any(block) else
                '#' if block == bytes([5]) * len(block) else '?')
print(''.join(runs))
END
}

# A benchmark of a fresh disk of 64 KiB, and what it wrote.
bench() {
    rm -f b.raw
    truncate -s 64k b.raw
    byre bench -f raw -w --pattern 5 "$@" b.raw | mask_bench
    filled 4096
}
bench -c 4
bench -c 4 -d 1 -o 8k -S 12k
bench -c 3 -o 60k
bench -c 16 -d 16
bench -c 9 -S 8k -o 4k -d 3 --flush-interval 3
bench -c 9 -S 8k -o 4k -d 3 --flush-interval 3 --no-drain
bench -c 100 -d 100 -s 4k --flush-interval 100
# The one that would pass the end begins at 0.
bench -c 3 -o 12k -s 16k -S 20k
bench -c 0
