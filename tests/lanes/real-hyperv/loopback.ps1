# Two processes of this machine over hyperv:loopback, on this machine's own disk.

function Test-Loopback([string]$Root) {
    $server = "hyperv:loopback:$Port"
    Test-Step 'loopback: serve' { $script:serving = Start-Listener @('serve', $server, '--root', $Root, '--open', '-v') 'serving' }
    Test-Address 'loopback' $server
    Test-Links $server $Root
    Test-Replacing $server $Root
    Test-Sparse $server $Root
    Test-Killed "hyperv:loopback:$($Port + 3)" $Root
    Test-Admission "hyperv:loopback:$($Port + 4)" $Root
    Test-Streams
    Test-Interrupts "hyperv:loopback:$($Port + 8)" $server $Root
    Test-Step 'loopback: the server has served all this' {
        Assert-Status (Invoke-Hvcopy @('ls', $server) 60) 0
        Update-Run $script:serving
        Assert-True ($null -eq $script:serving.status) "it ended with $($script:serving.status)"
        $script:serving.err
        Stop-Run $script:serving
    }
    Test-Step 'loopback: bench' {
        $measured = "hyperv:loopback:$($Port + 2)"
        $answering = Start-Listener @('bench', '--serve', $measured, '--open') 'answering'
        $null = Read-Json (Invoke-Hvcopy @('bench', $measured, '--json') 300) 0
        Stop-Run $answering
    }
}

function Test-Links([string]$Server, [string]$Root) {
    $outside = Join-Path $script:work 'outside'
    $secret = Join-Path $outside 'secret'
    foreach ($kind in 'Junction', 'SymbolicLink') {
        Test-Step "loopback: a $kind leads nowhere" {
            $null = New-Item -ItemType Directory -Path $outside -Force
            [IO.File]::WriteAllText($secret, 'secret')
            $link = Join-Path $Root "to-$kind"
            try {
                $null = New-Item -ItemType $kind -Path $link -Target $outside
            } catch {
                Skip-Check "Windows lets this user make no $kind (an elevated prompt may): $($_.Exception.Message)"
            }
            try {
                Assert-True ([IO.File]::Exists((Join-Path $link 'secret'))) 'Windows itself does not follow it'
                $read = Invoke-Hvcopy @('cp', "${Server}:/to-$kind/secret", (Join-Path $script:work 'stolen')) 60
                $written = Invoke-Hvcopy @('cp', $secret, "${Server}:/to-$kind/planted") 60
                $whole = Invoke-Hvcopy @('cp', '-r', "${Server}:/to-$kind", (Join-Path $script:work 'stolen-tree')) 60
                Assert-Status $read 10
                Assert-Status $written 10
                Assert-True ($whole.status -ne 0) 'it was copied as a tree'
                Assert-True (-not (Test-Path -LiteralPath (Join-Path $script:work 'stolen'))) 'it was read'
                Assert-True (-not (Test-Path -LiteralPath (Join-Path $script:work 'stolen-tree\secret'))) 'it was read as a tree'
                Assert-True (-not (Test-Path -LiteralPath (Join-Path $outside 'planted'))) 'a file was written outside'
            } finally {
                [IO.Directory]::Delete($link)   # the link alone; Remove-Item of 5.1 might go through it
            }
            $alive = Invoke-Hvcopy @('ls', "${Server}:/") 60
            Assert-Status $alive 0
        }
    }
}

function Test-Replacing([string]$Server, [string]$Root) {
    $source = Join-Path $script:tree 'sub\file 1'
    Test-Step 'loopback: a file that is open elsewhere is replaced' {
        $target = Join-Path $Root 'open'
        [IO.File]::WriteAllText($target, 'old')
        $share = [IO.FileShare]::ReadWrite -bor [IO.FileShare]::Delete
        $held = [IO.FileStream]::new($target, [IO.FileMode]::Open, [IO.FileAccess]::Read, $share)
        try {
            $null = Read-Json (Invoke-Hvcopy @('cp', $source, "${Server}:/open", '--overwrite', '--json') 60) 0
            Assert-True ($held.ReadByte() -eq [byte][char]'o') 'who has the old file open does not read it any more'
        } finally {
            $held.Dispose()
        }
        Assert-SameFile $source $target
    }
    Test-Step 'loopback: a read-only file is replaced, if --overwrite says so' {
        $target = Join-Path $Root 'read-only'
        [IO.File]::WriteAllText($target, 'old')
        [IO.File]::SetAttributes($target, [IO.FileAttributes]::ReadOnly)
        $null = Read-Json (Invoke-Hvcopy @('cp', $source, "${Server}:/read-only", '--json') 60) 10
        Assert-True ([IO.File]::ReadAllText($target) -eq 'old') 'it was replaced without --overwrite'
        $null = Read-Json (Invoke-Hvcopy @('cp', $source, "${Server}:/read-only", '--overwrite', '--json') 60) 0
        Assert-SameFile $source $target
    }
}

function Test-Sparse([string]$Server, [string]$Root) {
    Test-Step 'loopback: holes of a sparse file stay holes' {
        Add-SparseCalls
        $source = Join-Path $script:work 'sparse'
        $target = Join-Path $Root 'sparse'
        New-SparseFile $source
        $here = [HvcopyTest.Sparse]::Allocated($source)
        if ($here -gt 4mb) { Skip-Check "the disk that TEMP is on makes no holes: $here bytes are allocated" }
        $null = Read-Json (Invoke-Hvcopy @('cp', $source, "${Server}:/sparse", '--json') 120) 0
        Assert-SameFile $source $target
        $there = [HvcopyTest.Sparse]::Allocated($target)
        Assert-True ($there -lt 16mb) "$there of 67108864 bytes are allocated, $here at the source"
        "allocated: $here at the source, $there at the target"
    }
}

function Test-Killed([string]$Server, [string]$Root) {
    Test-Step 'loopback: a killed receiver is exit 6, and the copy goes on' {
        $words = @('serve', $Server, '--root', $Root, '--open')
        $receiver = Start-Listener $words 'serving'
        $slow = Start-SlowCopy "${Server}:/broken"
        # Digests of the blocks that arrived are noted after a header of 64 bytes; from then on there is something to reuse.
        Wait-Until { $slow.process.HasExited -or (Get-OpenLength (Join-Path $Root '.broken.hvcopy-blocks')) -gt 64 } 60 'blocks noted'
        Assert-True (-not $slow.process.HasExited) 'the copy was over before its receiver was killed'
        Stop-Run $receiver
        $null = Read-Json (Wait-Run $slow 120) 6
        Assert-Says $slow 'run again: hvcopy cp '
        Assert-True (-not (Test-Path -LiteralPath (Join-Path $Root 'broken'))) 'a file stands half-written under its name'
        $receiver = Start-Listener $words 'serving'
        $json = Read-Json (Invoke-Hvcopy @('cp', $script:large, "${Server}:/broken", '--json') 600) 0
        Assert-True ($json.reused_bytes -gt 0) 'nothing was reused'
        Assert-SameFile $script:large (Join-Path $Root 'broken')
        Stop-Run $receiver
        "$($json.reused_bytes) bytes reused"
    }
}

function Test-Admission([string]$Server, [string]$Root) {
    Test-Step 'loopback: --allow names this machine, and refuses others with exit 9' {
        $let = Start-Listener @('serve', $Server, '--root', $Root, '--allow', 'hyperv:loopback') 'serving'
        $in = Invoke-Hvcopy @('ls', $Server) 60
        Stop-Run $let
        $other = [guid]::NewGuid().ToString()
        $let = Start-Listener @('serve', $Server, '--root', $Root, '--allow', "hyperv:$other") 'serving'
        $out = Invoke-Hvcopy @('ls', $Server) 60
        Stop-Run $let
        Assert-Status $in 0
        Assert-Status $out 9
        Assert-Says $out 'is not on the list of allowed peers'
    }
    Test-Step 'loopback: a key lets in, and without it exit 9' {
        $key = Join-Path $script:work 'key'
        $made = Invoke-Hvcopy @('key', $key) 60
        Assert-Status $made 0
        $let = Start-Listener @('serve', $Server, '--root', $Root, '--key-file', $key) 'serving'
        $in = Invoke-Hvcopy @('ls', $Server, '--key-file', $key) 60
        $out = Invoke-Hvcopy @('ls', $Server) 60
        Stop-Run $let
        Assert-Status $in 0
        Assert-Status $out 9
    }
}
