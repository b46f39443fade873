# Runs hvcopy: one command to its end, or a listener that stays. Each process is remembered until Stop-Everything.

$script:started = [System.Collections.ArrayList]::new()
$script:runs = [System.Collections.ArrayList]::new()

# Words as one command line, as programs of Windows read it; Start-Process would join an array without quotes.
function Join-Words([string[]]$Words) {
    $quoted = foreach ($word in $Words) {
        if ($word -ne '' -and $word -notmatch '[\s"]') { $word }
        else { '"' + (($word -replace '(\\*)"', '$1$1\"') -replace '(\\+)$', '$1$1') + '"' }
    }
    $quoted -join ' '
}

# A file's text, also while its writer has it open.
function Read-Text([string]$Path) {
    if (-not [IO.File]::Exists($Path)) { return '' }
    $share = [IO.FileShare]::ReadWrite -bor [IO.FileShare]::Delete
    $stream = [IO.FileStream]::new($Path, [IO.FileMode]::Open, [IO.FileAccess]::Read, $share)
    try {
        [IO.StreamReader]::new($stream, [Text.UTF8Encoding]::new($false)).ReadToEnd()
    } finally {
        $stream.Dispose()
    }
}

# Notes a process and what it was started for. Its handle is asked for, or ExitCode would stay empty in 5.1.
function Add-Run($Process, [string]$Command, [string]$Log) {
    $null = $Process.Handle
    $run = [pscustomobject]@{
        process = $Process; command = $Command; log = $Log; clock = [Diagnostics.Stopwatch]::StartNew()
        status = $null; out = ''; err = ''
    }
    $null = $script:started.Add($run)
    $null = $script:runs.Add($run)
    $run
}

function New-Log { Join-Path $script:work ('run-' + [guid]::NewGuid().ToString('N')) }

# Its standard input is a file, else an empty one, of its own: Start-Process opens it for writing, too.
function Start-Hvcopy([string[]]$Words, [string]$InputFile = '') {
    $log = New-Log
    $line = Join-Words $Words
    if (-not $InputFile) {
        $InputFile = "$log.in"
        [IO.File]::WriteAllText($InputFile, '')
    }
    $process = Start-Process -FilePath $script:program -ArgumentList $line -NoNewWindow -PassThru `
        -WorkingDirectory $script:work -RedirectStandardInput $InputFile `
        -RedirectStandardOutput "$log.out" -RedirectStandardError "$log.err"
    Add-Run $process "hvcopy $line" $log
}

# Reads what a run has said until now, and its exit code once it has one.
function Update-Run($Run) {
    $ended = $Run.process.HasExited   # before reading, so that what an ended one has said is all there
    $Run.out = Read-Text "$($Run.log).out"
    $Run.err = Read-Text "$($Run.log).err"
    if ($ended) {
        $Run.clock.Stop()
        $Run.status = $Run.process.ExitCode
    }
}

function Wait-Run($Run, [int]$Seconds = 300) {
    $ended = $Run.process.WaitForExit($Seconds * 1000)
    if (-not $ended) { Stop-Run $Run }
    Update-Run $Run
    if (-not $ended) { throw "not over within $Seconds s: $($Run.command)" }
    $Run
}

function Invoke-Hvcopy([string[]]$Words, [int]$Seconds = 300) { Wait-Run (Start-Hvcopy $Words) $Seconds }

# Polls. The block sees this function's variables, hence their names.
function Wait-Until([scriptblock]$UntilBlock, [int]$UntilSeconds, [string]$UntilWhat) {
    $untilClock = [Diagnostics.Stopwatch]::StartNew()
    while (-not (& $UntilBlock)) {
        if ($untilClock.Elapsed.TotalSeconds -gt $UntilSeconds) { throw "not within $UntilSeconds s: $UntilWhat" }
        Start-Sleep -Milliseconds 50
    }
}

# Waits for words on a run's standard error.
function Wait-Words($Run, [string]$Pattern, [int]$Seconds = 60) {
    Wait-Until {
        Update-Run $Run
        if ($Run.err -match $Pattern) { return $true }
        if ($null -ne $Run.status) { throw "ended with $($Run.status): $($Run.command): $($Run.err)" }
        $false
    } $Seconds "'$Pattern' from $($Run.command)"
}

# A listener, ready when it has said so.
function Start-Listener([string[]]$Words, [string]$Says) {
    $run = Start-Hvcopy $Words
    Wait-Words $run $Says
    $run
}

# The processes below one: pip's hvcopy.exe starts Python, and a virtual environment's Python another one.
# A number that was another process's before has older children.
function Get-Below([int]$Id, [datetime]$Since) {
    $found = @(Get-CimInstance Win32_Process -Filter "ParentProcessId=$Id" -ErrorAction SilentlyContinue |
        Where-Object { $_.CreationDate -ge $Since })
    foreach ($one in $found) {
        [int]$one.ProcessId
        Get-Below $one.ProcessId $one.CreationDate
    }
}

# Ends a run as a crash would, with all that it started.
function Stop-Run($Run) {
    if ($Run.process.HasExited) { return }
    $below = @(Get-Below $Run.process.Id $Run.process.StartTime)
    try { $Run.process.Kill() } catch { Write-Verbose "it ended meanwhile: $_" }
    $null = $Run.process.WaitForExit(10000)
    foreach ($id in $below) {
        Stop-Process -Id $id -Force -ErrorAction SilentlyContinue
        Wait-Process -Id $id -Timeout 10 -ErrorAction SilentlyContinue
    }
}

function Stop-Everything {
    foreach ($run in $script:started) {
        try { Stop-Run $run } catch { Write-Host "could not end process $($run.process.Id): $_" }
    }
}

# The folder of this run. Windows may hold files of a process that was just ended for a moment.
function Remove-Work {
    foreach ($try in 1..20) {
        if (-not (Test-Path -LiteralPath $script:work)) { return }
        Remove-Item -LiteralPath $script:work -Recurse -Force -ErrorAction SilentlyContinue
        Start-Sleep -Milliseconds 100
    }
    Write-Host "could not be removed: $($script:work)"
}
