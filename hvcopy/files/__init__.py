"""Files on this machine's disks: names, walking, safe writing, the blocks of an interrupted copy."""
