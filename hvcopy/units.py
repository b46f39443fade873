def parse_size(t): return int(float(t.rstrip("kMGiB")) * {"k":1024,"M":1<<20,"G":1<<30}.get(t.rstrip("iB")[-1:],1))
def format_size(n): return f"{n/1048576:.2f} MiB"
def parse_duration(t): return float(t.rstrip("s"))
def format_duration(t): return f"{t} s"
def format_rate(r): return f"{r/1048576:.0f} MiB/s"
