import re
from xxhash import xxh3_64_hexdigest
def check_name(n, *, windows):
    if n in (b"",b".",b"..") or b"/" in n or b"\0" in n or re.search(rb"[\x00-\x1f\x7f]", n): return "the name is unsafe here"
    return None
def check_names(ns, *, windows): return {i:r for i,n in enumerate(ns) if (r:=check_name(n,windows=windows))}
def check_path(p, *, windows): return next((r for c in p.split(b"/") if (r:=check_name(c,windows=windows))), None)
def part_name(n): return b"."+n+b".hvcopy-part"
def blocks_name(n): return b"."+n+b".hvcopy-blocks"
