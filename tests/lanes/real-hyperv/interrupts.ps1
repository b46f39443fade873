# Ctrl-C, as a console sends it: from a PowerShell with a console of its own (press.ps1), so that nobody else hears it.

function Invoke-Interrupted([string[]]$Words, [string]$Says) {
    $shell = @('pwsh.exe', 'powershell.exe' | ForEach-Object { Join-Path $PSHOME $_ } | Where-Object { Test-Path -LiteralPath $_ })
    if (-not $shell.Count) { Skip-Check "no pwsh.exe or powershell.exe in $PSHOME to press Ctrl-C with" }
    $log = New-Log
    $line = Join-Words $Words
    $request = [pscustomobject]@{
        program = $script:program; line = $line; folder = $script:work; log = $log; says = $Says
    }
    [IO.File]::WriteAllText("$log.in", '')
    [IO.File]::WriteAllText("$log.json", (ConvertTo-Json -InputObject $request))
    $press = Join-Words @('-NoLogo', '-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'Bypass', '-File',
        (Join-Path $PSScriptRoot 'press.ps1'), '-Request', "$log.json")
    $process = Start-Process -FilePath $shell[0] -ArgumentList $press -WindowStyle Hidden -PassThru -WorkingDirectory $script:work
    $interrupted = Wait-Run (Add-Run $process "hvcopy $line" $log) 180
    $trouble = Read-Text "$log.trouble"
    Assert-True (-not $trouble) "Ctrl-C could not be sent: $trouble"
    $interrupted
}

function Test-Interrupts([string]$Place, [string]$Server, [string]$Root) {
    Test-Step 'Ctrl-C ends serve with 0' {
        $served = Invoke-Interrupted @('serve', $Place, '--root', $Root, '--open') 'serving'
        Assert-Status $served 0
    }
    Test-Step 'Ctrl-C ends a copy with 130, and says how to go on' {
        $words = @('cp', $script:large, "${Server}:/interrupted", '--bwlimit', $script:slowRate, '--progress', 'json')
        $copied = Invoke-Interrupted $words '"bytes": [1-9]'
        Assert-Status $copied 130
        Assert-Says $copied 'run again: hvcopy cp '
        Assert-True (-not (Test-Path -LiteralPath (Join-Path $Root 'interrupted'))) 'a file stands half-written under its name'
    }
}
