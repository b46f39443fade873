# Checks: each is run to its end, whatever happens in it, and noted with what its commands said.

$script:checks = [System.Collections.ArrayList]::new()
$script:skipping = $false
$script:facts = [ordered]@{ }

# Runs one check. What it returns is noted as found. A block sees the variables of the functions that called it, and
# no case is told apart: so no name here may be one that a block uses for its own.
function Test-Step([string]$CheckName, [scriptblock]$CheckBlock) {
    Write-Host "$CheckName ... " -NoNewline
    $script:runs = [System.Collections.ArrayList]::new()
    $script:skipping = $false
    $checkClock = [Diagnostics.Stopwatch]::StartNew()
    $checkResult = 'ok'
    $checkWhy = ''
    $checkAt = ''
    $checkFound = @()
    try {
        $checkFound = @(& $CheckBlock | ForEach-Object { [string]$_ })
    } catch {
        $checkResult = 'failed'
        if ($script:skipping) { $checkResult = 'skipped' }
        $checkWhy = [string]$_.Exception.Message
        $checkAt = "$($_.InvocationInfo.ScriptName):$($_.InvocationInfo.ScriptLineNumber)"
    }
    $checkRuns = @(foreach ($checkRun in $script:runs) { Get-Record $checkRun })
    $null = $script:checks.Add([pscustomobject]@{
            name = $CheckName; result = $checkResult; why = $checkWhy; at = $checkAt
            seconds = [math]::Round($checkClock.Elapsed.TotalSeconds, 3); found = [object[]]$checkFound; runs = [object[]]$checkRuns
        })
    if ($checkWhy) { Write-Host "${checkResult}: $checkWhy" } else { Write-Host $checkResult }
}

# A run as it is written down; exit_code is null while it runs.
function Get-Record($Run) {
    try { Update-Run $Run } catch { Write-Verbose "no more is to be read: $_" }
    [pscustomobject]@{
        command = $Run.command; exit_code = $Run.status; stdout = Limit-Text $Run.out; stderr = Limit-Text $Run.err
        seconds = [math]::Round($Run.clock.Elapsed.TotalSeconds, 3)
    }
}

function Limit-Text([string]$Text) {
    if ($Text.Length -le 50000) { return $Text }
    $Text.Substring(0, 25000) + "`n[...]`n" + $Text.Substring($Text.Length - 25000)
}

function Skip-Check([string]$Why) {
    $script:skipping = $true
    throw $Why
}

function Assert-True($Condition, [string]$Otherwise) { if (-not $Condition) { throw $Otherwise } }

function Assert-Status($Run, [int[]]$Codes) {
    if ($Codes -notcontains $Run.status) {
        throw "exit code $($Run.status), expected $($Codes -join ' or '): $($Run.command): $($Run.err)"
    }
}

function Assert-Says($Run, [string]$Pattern) {
    if (($Run.out + $Run.err) -notmatch $Pattern) { throw "does not say '$Pattern': $($Run.command): $($Run.out)$($Run.err)" }
}

# The object that --json printed, which must agree with the exit code.
function Read-Json($Run, [int[]]$Codes) {
    Assert-Status $Run $Codes
    $json = ConvertFrom-Json -InputObject $Run.out
    Assert-True ($json.exit_code -eq $Run.status) "exit_code is $($json.exit_code), the exit code $($Run.status): $($Run.command)"
    Assert-True ($json.ok -eq ($Run.status -eq 0)) "ok is $($json.ok), the exit code $($Run.status): $($Run.command)"
    $json
}

# An empty file with the time in its name, so that no run loses what another found; made before anything is run that could be lost.
function New-Result([string]$Wished) {
    $leaf = '{0}-{1}{2}' -f @(
        [IO.Path]::GetFileNameWithoutExtension($Wished), (Get-Date -Format 'yyyyMMdd-HHmmss-fff'), [IO.Path]::GetExtension($Wished)
    )
    foreach ($folder in [IO.Path]::GetDirectoryName($Wished), [IO.Path]::GetTempPath()) {
        $made = Join-Path $folder $leaf
        try {
            [IO.File]::Open($made, [IO.FileMode]::CreateNew).Close()
            return $made
        } catch {
            Write-Host "$made cannot be written: $($_.Exception.Message)"
        }
    }
    throw 'there is no folder for the result: name one with -Result'
}

# Without the byte order mark that 5.1's Set-Content would write.
function Save-Result([string]$Path) {
    $whole = [pscustomobject]@{ schema = 2; machine = $script:facts; checks = [object[]]$script:checks.ToArray() }
    $text = ConvertTo-Json -InputObject $whole -Depth 10
    [IO.File]::WriteAllText($Path, $text, [Text.UTF8Encoding]::new($false))
}
