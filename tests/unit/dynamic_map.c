/* The dynamic 8-bit maps, held to checksums of bitsandbytes' own, and the rule by which its CPU backend picks an index. */
#include "base/dynamic_map.h"
#include "tap.h"

static uint32_t crc32(const void *data, size_t n)
{
    uint32_t c = 0xffffffffu;
    for (const uint8_t *p = data; n--; p++) {
        c ^= *p;
        for (int bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
    }
    return ~c;
}

int main(void)
{
    float map[DYNAMIC_MAP_SIZE];
    dynamic_map(map, false);
    is_int(crc32(map, sizeof map), 0xe871278f, "the unsigned map, bit for bit");
    dynamic_map(map, true);
    is_int(crc32(map, sizeof map), 0x1b137aeb, "the signed map, bit for bit");
    ok(map[0] == -0.99296874f && map[127] == 0 && map[255] == 1, "its ends and its middle");
    is_int(dynamic_map_index(map, 0), 131, "0 falls into the bin above it");
    is_int(dynamic_map_index(map, -1e-6f), 123, "-1e-6 into that below");
    ok(dynamic_map_index(map, -1) == 0 && dynamic_map_index(map, -2) == 0, "below the map: its first");
    ok(dynamic_map_index(map, 1) == 255 && dynamic_map_index(map, 3) == 255, "above it: its last");
    ok(dynamic_map_index(map, -0.5f / 1.5f) == 47 && dynamic_map_index(map, 0.5f / 1.5f) == 207, "absmax 1 2 3 4: indices 0 47 207 255");
    int off = 0;
    for (int i = 0; i < 256; i++)
        off += (i < 96 || i > 158) && dynamic_map_index(map, map[i]) != i;
    is_int(off, 0, "a value of the map, but those near 0, is its own index");
    return tap_end();
}
