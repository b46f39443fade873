"""The options that several commands share: one name, one help text, one meaning."""

from __future__ import annotations

from typing import Annotated

import typer

Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Copy directories with everything in them.")]
Archive = Annotated[
    bool, typer.Option("-a", "--archive", help="As -r, and keep owner, extended attributes and symbolic links.")
]
Links = Annotated[bool, typer.Option("--links", help="Recreate symbolic links (they are skipped otherwise).")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
Update = Annotated[bool, typer.Option("--update", help="Replace files that exist, but only older ones.")]
NoFsync = Annotated[bool, typer.Option("--no-fsync", help="Do not wait until the contents are on the receiver's disk.")]
Listen = Annotated[bool, typer.Option("-l", "--listen", help="Listen on ADDRESS instead of connecting to it.")]
Wait = Annotated[
    str, typer.Option("--wait", metavar="SECS", help="Keep trying to connect for so long while nobody listens yet.")
]
Timeout = Annotated[str, typer.Option("--timeout", metavar="SECS", help="Give up after so long without any progress.")]
KeyFile = Annotated[
    str, typer.Option("--key-file", metavar="FILE", help="Prove this pre-shared key, and have the peer prove it.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="PEER", help="Let in only this peer: vsock:3, unix:1000. Repeatable."),
]
Open = Annotated[bool, typer.Option("--open", help="Let in whoever can connect.")]
Lanes = Annotated[int, typer.Option("--lanes", metavar="N", min=1, max=16, help="Connections to use at most, 1 to 16.")]
Bwlimit = Annotated[str, typer.Option("--bwlimit", metavar="RATE", help="Send at most so many bytes a second: 50M. 0: no limit.")]
Buffer = Annotated[
    str, typer.Option("--buffer", metavar="SIZE", help="Socket buffer: 1M. The default, or 0, suits the transport.")
]
ProgressKind = Annotated[
    str, typer.Option("--progress", metavar="KIND", help="auto, bar, plain, json or none; on stderr.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one result object on stdout (docs/json.md).")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]
QuietListener = Annotated[
    bool, typer.Option("-q", "--quiet", help="Say nothing of connections, not even of those that fail.")
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more: the connection, its buffers, each session.")]
DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would be copied; write nothing.")]
KeepOpen = Annotated[
    bool, typer.Option("-k", "--keep-open", help="With -l: go on with the next peer when one is done, until stopped.")
]
