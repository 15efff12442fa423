"""Goldens of the safetensors format, from the reference library (safetensors 0.8.0, torch).

  safetensors.bin         a file that the library wrote: every type that torch has, awkward names, empty tensors
  safetensors-cases.json  hand-made headers: does the library open them, and with which tensors? "stricter": we refuse it on purpose
"""
import json, os, struct, tempfile
import torch
from safetensors import safe_open
from safetensors.torch import save

HERE = os.path.dirname(os.path.abspath(__file__))

def pattern(name, count):
    """Byte i of a tensor: (7 i + length of its name) mod 251; the test fills it in the same way."""
    return bytes((7 * i + len(name.encode())) % 251 for i in range(count))

TYPES = [("U64", torch.uint64, 8), ("I64", torch.int64, 8), ("F64", torch.float64, 8), ("F32", torch.float32, 4),
         ("I32", torch.int32, 4), ("U32", torch.uint32, 4), ("BF16", torch.bfloat16, 2), ("F16", torch.float16, 2),
         ("U16", torch.uint16, 2), ("I16", torch.int16, 2), ("F8_E4M3", torch.float8_e4m3fn, 1), ("F8_E5M2", torch.float8_e5m2, 1),
         ("I8", torch.int8, 1), ("U8", torch.uint8, 1)]
NAMES = ["b", "a10", "a9", "aa", "B", "z", "\u00e9", "\U0001f600", "q\"uote\\back/slash", "ctl\x01\b\t\n\f\r\x1f\x7f", ""]

tensors = {}
def add(name, type, shape, size):
    count = 1
    for d in shape:
        count *= d
    raw = bytearray(pattern(name, count * size)) or bytearray(1)
    tensors[name] = torch.frombuffer(raw, dtype=torch.uint8)[:count * size].view(type).reshape(shape)

for name, type, size in TYPES:
    add(name.lower() + ".weight", type, (2, 3), size)
for name in NAMES:
    add(name, torch.float32, (2,), 4)
add("empty", torch.float32, (0, 5), 4)
add("scalar", torch.float32, (), 4)
with open(os.path.join(HERE, "safetensors.bin"), "wb") as f:
    f.write(save(tensors, metadata={"format": "pt"}))

U8 = '{"dtype":"U8","shape":[%s],"data_offsets":[%s]}'
def t(shape, offsets, more=""):
    return U8[:-1] % (shape, offsets) + more + "}"
def nest(n):
    return "[" * n + "]" * n
CASES = [ # header, bytes of data
    ('{}', 0), ('\t\n{}\r ', 0), ('', 0), (' ', 0), ('[]', 0), ('null', 0), ('{} x', 0), ('{}{}', 0), ('\ufeff{}', 0), ('{}', 1),
    ('{"a":%s}' % t("4", "0,4"), 4), ('{"a":%s}' % t("4", "0,4"), 5), ('{"a":%s}' % t("4", "0,4"), 3), ('{"a":%s,}' % t("4", "0,4"), 4),
    ('{"a":%s,"a":%s}' % (t("4", "0,4"), t("4", "0,4")), 4), ('{"a":%s,"\\u0061":%s}' % (t("4", "0,4"), t("8", "0,8")), 8),
    ('{"a":%s,"a":%s}' % (t("4", "0,4"), t("4", "4,8")), 8), ('{"a":%s,"b":%s}' % (t("4", "0,4"), t("4", "4,8")), 8),
    ('{"a":%s,"b":%s}' % (t("4", "4,8"), t("4", "0,4")), 8), ('{"a":%s,"b":%s}' % (t("4", "0,4"), t("4", "5,9")), 9),
    ('{"a":%s,"b":%s}' % (t("4", "0,4"), t("4", "3,7")), 7), ('{"a":%s}' % t("4", "1,5"), 5), ('{"a":%s}' % t("4", "4,0"), 4),
    ('{"a":%s}' % t("4", "0,4", ',"x":1'), 4), ('{"a":%s}' % t("4", "0,4", ',"x":1,"x":{"y":[null,true,false,"s",-1.5e-3]}'), 4),
    ('{"a":%s}' % t("4", "0,4", ',"dtype":"U8"'), 4), ('{"a":%s}' % t("4", "0,4", ',"x":1e400'), 4), ('{"a":%s}' % t("4", "0,4", ',"x":1e-400'), 4),
    ('{"a":%s}' % t("4", "0,4", ',"x":01'), 4), ('{"a":%s}' % t("4", "0,4", ',"x":1.'), 4), ('{"a":%s}' % t("4", "0,4", ',"x":.5'), 4),
    ('{"a":%s}' % t("4", "0,4", ',"x":-'), 4), ('{"a":%s}' % t("4", "0,4", ',"x":+1'), 4), ('{"a":%s}' % t("4", "0,4", ',"x":NaN'), 4),
    ('{"a":%s}' % t("4", "0,4", ',"x":123456789012345678901234567890'), 4), ('{"a":%s}' % t("4", "0,4", ',"x":' + "9" * 400), 4),
    ('{"a":%s}' % t("4", "0,4", ',"x":' + nest(125)), 4), ('{"a":%s}' % t("4", "0,4", ',"x":' + nest(126)), 4),
    ('{"a":%s}' % t("4", "0,4", ',"x":' + nest(127)), 4), ('{"a":%s}' % t("4", "0,4", ',"x":"\\ud800"'), 4),
    ('{"a":%s}' % t("4.0", "0,4"), 4), ('{"a":%s}' % t("4e0", "0,4"), 4), ('{"a":%s}' % t("-0", "0,0"), 0), ('{"a":%s}' % t("0", "0,0"), 0),
    ('{"a":%s}' % t("-4", "0,4"), 4), ('{"a":%s}' % t('"4"', "0,4"), 4), ('{"a":%s}' % t("18446744073709551616", "0,4"), 4),
    ('{"a":%s}' % t("18446744073709551615", "0,4"), 4), ('{"a":%s}' % t("0,9223372036854775808,2", "0,0"), 0),
    ('{"a":%s}' % t("9223372036854775808,2,0", "0,0"), 0), ('{"a":%s}' % t("0,9223372036854775807,3", "0,0"), 0),
    ('{"a":%s}' % t("", "0,1"), 1), ('{"a":%s}' % t("4", "0,4,4"), 4), ('{"a":%s}' % t("4", "0"), 4), ('{"a":%s}' % t("5", "0,4"), 4),
    ('{"a":%s}' % t("1,1,1,1,1,1,1,1", "0,1"), 1), ('{"a":%s}' % t("1,1,1,1,1,1,1,1,1", "0,1"), 1),
    ('{"a":{"dtype":"u8","shape":[4],"data_offsets":[0,4]}}', 4), ('{"a":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]}}', 3),
    ('{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}', 2), ('{"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}', 3),
    ('{"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}', 8), ('{"a":{"dtype":null,"shape":[4],"data_offsets":[0,4]}}', 4),
    ('{"a":{"dtype":"U8","shape":null,"data_offsets":[0,4]}}', 4), ('{"a":{"dtype":"U8","shape":[4]}}', 4), ('{"a":{}}', 0), ('{"a":null}', 0),
    ('{"a":["U8",[4],[0,4]]}', 4), ('{"a":{"dtype":"U8","shape":[4,],"data_offsets":[0,4]}}', 4), ('{"a\\u0000b":%s}' % t("4", "0,4"), 4),
    ('{"\\ud83d\\ude00":%s}' % t("4", "0,4"), 4), ('{"\\ud800":%s}' % t("4", "0,4"), 4), ('{"\\udc00x":%s}' % t("4", "0,4"), 4),
    ('{"\\ud800\\u0041":%s}' % t("4", "0,4"), 4), ('{"\\x":%s}' % t("4", "0,4"), 4), ('{"a\nb":%s}' % t("4", "0,4"), 4),
    ('{"":%s}' % t("4", "0,4"), 4), ('{\'a\':%s}' % t("4", "0,4"), 4), ('{"a" : %s , "b":%s}' % (t("4", " 0 , 4 "), t("0", "4,4")), 4),
    ('{"__metadata__":{}}', 0), ('{"__metadata__":null}', 0), ('{"__metadata__":1}', 0), ('{"__metadata__":{"a":"b"},"__metadata__":{}}', 0),
    ('{"__metadata__":{"a":null}}', 0), ('{"__metadata__":{"a":1}}', 0), ('{"__metadata__":{"a":"1","a":"2"}}', 0),
    ('{"a":%s,"__metadata__":{"k":"v"}}' % t("4", "0,4"), 4), ('{"__metadata__":{"k\\u0000":"v"}}', 0),
    ('{"z":%s,"a":%s}' % (t("0", "4,4"), t("4", "0,4")), 4), ('{"z":%s,"a":%s}' % (t("0", "0,0"), t("4", "0,4")), 4),
    ('{"z":%s,"a":%s}' % (t("0", "2,2"), t("4", "0,4")), 4), ('{"a":%s/**/}' % t("4", "0,4"), 4),
]
# What we refuse and the library takes: duplicates, dimensions above 2^63 - 1, more than eight of them, the positional form, NUL in names.
STRICTER = {14, 15, 48, 56, 67, 69, 85, 87}  # places in CASES

def opens(header, size):
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as f:
        text = header.encode()
        f.write(struct.pack("<Q", len(text)) + text + bytes(size))
        f.flush()
        try:
            with safe_open(f.name, "pt") as s:
                return sorted(s.keys())
        except Exception:
            return None

out = []
for i, (header, size) in enumerate(CASES):
    names = opens(header, size)
    out.append({"header": header, "data": size, "accepted": names is not None, "tensors": len(names or [])})
    if i in STRICTER:
        out[-1]["stricter"] = True
with open(os.path.join(HERE, "safetensors-cases.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in out) + "\n]\n")
for i, c in enumerate(out):
    print(i, c["accepted"], c["header"][:90].replace("\n", "\\n"))
