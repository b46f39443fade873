<#
.SYNOPSIS
Shows on a real Hyper-V what no lane can: hvcopy over AF_HYPERV, on this host and with its guests.

.DESCRIPTION
Writes one JSON file, real-hyperv.json, with each check's outcome; send that file back. Makes a folder under TEMP and
removes it. Nothing else is changed, but with -Register: then the port is registered as a service, and unregistered at
the end unless it was there before. Needs Windows PowerShell 5.1 or newer, an elevated prompt for the guests, and hvcopy on
PATH (or -Hvcopy).

.EXAMPLE
.\real-hyperv.ps1
Two processes of this machine, over hyperv:loopback.

.EXAMPLE
.\real-hyperv.ps1 -Guest 'My Linux VM'
After this in the guest:  hvcopy serve vsock:any:18518 --root /tmp/hv --allow vsock:host
(in a Windows guest:      hvcopy serve hyperv:parent:18518 --root C:\hv --allow hyperv:parent)

.EXAMPLE
.\real-hyperv.ps1 -Register -WaitForGuest 120
The host listens, and within 120 s this is called in a guest:  hvcopy send FILE vsock:host:18519
(in a Windows guest:                                           hvcopy send FILE hyperv:parent:18519)
#>
param(
    [string]$Hvcopy = 'hvcopy',
    [int]$Port = 18518,
    [string]$Guest = '',
    [switch]$Wsl,
    [switch]$Register,
    [int]$WaitForGuest = 0,
    [int]$Megabytes = 256,
    [string]$Result = 'real-hyperv.json'
)
$ErrorActionPreference = 'Stop'
$checks = New-Object System.Collections.ArrayList
$work = Join-Path $env:TEMP ('hvcopy-real-' + [guid]::NewGuid().ToString('N').Substring(0, 8))
New-Item -ItemType Directory $work | Out-Null
$servers = New-Object System.Collections.ArrayList

# One command to its end: status, both outputs, seconds.
function Invoke-Hvcopy([string[]]$Words, [int]$Seconds = 300) {
    $out = Join-Path $work ('out-' + [guid]::NewGuid().ToString('N'))
    $quoted = $Words | ForEach-Object { if ($_ -match '[\s"]') { '"' + ($_ -replace '"', '\"') + '"' } else { $_ } }
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    $process = Start-Process -FilePath $Hvcopy -ArgumentList $quoted -NoNewWindow -PassThru `
        -RedirectStandardOutput "$out.1" -RedirectStandardError "$out.2"
    $null = $process.Handle   # or ExitCode stays empty
    if (-not $process.WaitForExit($Seconds * 1000)) { $process.Kill(); $process.WaitForExit() }
    [pscustomobject]@{
        command = ($Words -join ' '); status = $process.ExitCode; seconds = [math]::Round($clock.Elapsed.TotalSeconds, 3)
        out = [string](Get-Content -Raw "$out.1"); err = [string](Get-Content -Raw "$out.2")
    }
}

# A listener, ready when it has said so.
function Start-Listener([string[]]$Words, [string]$Says, [int]$Seconds = 30) {
    $log = Join-Path $work ('log-' + [guid]::NewGuid().ToString('N'))
    $quoted = $Words | ForEach-Object { if ($_ -match '[\s"]') { '"' + $_ + '"' } else { $_ } }
    $process = Start-Process -FilePath $Hvcopy -ArgumentList $quoted -NoNewWindow -PassThru `
        -RedirectStandardOutput "$log.1" -RedirectStandardError "$log.2"
    $null = $process.Handle
    $null = $servers.Add($process)
    $ends = (Get-Date).AddSeconds($Seconds)
    while (-not ((Get-Content -Raw "$log.2" -ErrorAction SilentlyContinue) -match $Says)) {
        if ($process.HasExited) { throw "ended with $($process.ExitCode): $(Get-Content -Raw "$log.2")" }
        if ((Get-Date) -gt $ends) { throw "did not say '$Says' within $Seconds s: $(Get-Content -Raw "$log.2")" }
        Start-Sleep -Milliseconds 100
    }
    [pscustomobject]@{ process = $process; log = "$log.2" }
}

# Runs one check; what it returns, or what it throws, goes into the result.
function Test-Step([string]$Name, [scriptblock]$Step) {
    Write-Host "$Name ... " -NoNewline
    try {
        $detail = & $Step
        $ok = $true
    } catch {
        $detail = [string]$_
        $ok = $false
    }
    $word = if ($ok) { 'ok' } else { 'FAILED' }
    Write-Host $word
    $null = $checks.Add([pscustomobject]@{ name = $Name; ok = $ok; detail = $detail })
}

function Assert-Done($Run) {
    if ($Run.status -ne 0) { throw "status $($Run.status): $($Run.command): $($Run.err)" }
    $Run
}

function Get-Digests([string]$Folder) {
    Get-ChildItem -Recurse -File $Folder | Sort-Object FullName | ForEach-Object {
        $_.FullName.Substring($Folder.Length) + ' ' + (Get-FileHash -Algorithm SHA256 $_.FullName).Hash
    }
}

function Assert-Same([string]$One, [string]$Other) {
    $difference = Compare-Object (Get-Digests $One) (Get-Digests $Other)
    if ($difference) { throw "they differ: $($difference | Out-String)" }
}

# What is copied: many small files, names of other scripts, one large file of random bytes.
function New-Tree([string]$Folder) {
    New-Item -ItemType Directory (Join-Path $Folder 'sub\deeper') -Force | Out-Null
    $random = New-Object System.Random 1
    foreach ($number in 1..200) {
        $bytes = New-Object byte[] ($number * 37)
        $random.NextBytes($bytes)
        [IO.File]::WriteAllBytes((Join-Path $Folder "sub\file $number"), $bytes)
    }
    [IO.File]::WriteAllText((Join-Path $Folder ("sub\deeper\" + [char]0xDC + "n" + [char]0x4E2D + '.txt')), 'text')
    $large = [IO.File]::Create((Join-Path $Folder 'large'))
    try {
        $bytes = New-Object byte[] 1048576
        foreach ($number in 1..$Megabytes) { $random.NextBytes($bytes); $large.Write($bytes, 0, $bytes.Length) }
    } finally { $large.Close() }
}

# There, back, again in lanes, compared by digest; then speed.
function Test-Address([string]$Label, [string]$Address) {
    $name = 'hv-' + [guid]::NewGuid().ToString('N').Substring(0, 8)
    Test-Step "${Label}: a tree goes there" { Assert-Done (Invoke-Hvcopy @('cp', '-r', $tree, "${Address}:/$name", '--json')) }
    Test-Step "${Label}: it comes back the same" {
        $back = Join-Path $work "back-$name"
        $run = Assert-Done (Invoke-Hvcopy @('cp', '-r', "${Address}:/$name", $back, '--json'))
        Assert-Same $tree $back
        Remove-Item -Recurse $back
        $run
    }
    Test-Step "${Label}: four lanes" {
        Assert-Done (Invoke-Hvcopy @('cp', (Join-Path $tree 'large'), "${Address}:/$name-lanes", '--lanes', '4', '--json'))
    }
    Test-Step "${Label}: a second copy is refused, with its reason" {
        $run = Invoke-Hvcopy @('cp', (Join-Path $tree 'large'), "${Address}:/$name-lanes")
        if ($run.status -ne 3) { throw "status $($run.status), expected 3: $($run.err)" }
        $run
    }
    Test-Step "${Label}: doctor" { Invoke-Hvcopy @('doctor', $Address, '--json') 60 }
}

$tree = Join-Path $work 'tree'
$registered = $false
try {
    New-Tree $tree
    $system = Get-CimInstance Win32_OperatingSystem
    $facts = [pscustomobject]@{
        windows = $system.Caption; build = $system.BuildNumber
        elevated = ([Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()).IsInRole('Administrators')
        hvcopy = (Invoke-Hvcopy @('--version') 30).out.Trim(); date = (Get-Date).ToString('s'); megabytes = $Megabytes
    }
    Test-Step 'doctor' { Invoke-Hvcopy @('doctor', '--json') 60 }
    Test-Step 'vms' { Invoke-Hvcopy @('vms', '--json') 60 }
    Test-Step 'service list' { Invoke-Hvcopy @('service', 'list') 60 }

    $root = Join-Path $work 'root'
    New-Item -ItemType Directory $root | Out-Null
    $loopback = "hyperv:loopback:$Port"
    Test-Step 'nobody listens is exit 4' {
        $run = Invoke-Hvcopy @('ls', "hyperv:loopback:$($Port + 7)") 60
        if ($run.status -ne 4) { throw "status $($run.status), expected 4: $($run.err)" }
        $run
    }
    Test-Step 'loopback: serve' { (Start-Listener @('serve', $loopback, '--root', $root, '--open') 'serving').log }
    Test-Address 'loopback' $loopback
    Test-Step 'a junction and a link lead nowhere' {
        $outside = Join-Path $work 'outside'
        New-Item -ItemType Directory $outside | Out-Null
        Set-Content (Join-Path $outside 'secret') 'secret'
        New-Item -ItemType Junction -Path (Join-Path $root 'junction') -Target $outside | Out-Null
        $read = Invoke-Hvcopy @('cp', "${loopback}:/junction/secret", (Join-Path $work 'stolen')) 60
        $written = Invoke-Hvcopy @('cp', (Join-Path $outside 'secret'), "${loopback}:/junction/planted") 60
        if ($read.status -eq 0 -or $written.status -eq 0) { throw "it was followed: $($read.status) $($written.status)" }
        if (Test-Path (Join-Path $outside 'planted')) { throw 'a file was written outside' }
        @($read, $written)
    }
    Test-Step 'a file that is open elsewhere is replaced' {
        $target = Join-Path $root 'open'
        Set-Content $target 'old'
        $share = [IO.FileShare]::ReadWrite -bor [IO.FileShare]::Delete
        $held = [IO.File]::Open($target, 'Open', 'Read', $share)
        try {
            $run = Assert-Done (Invoke-Hvcopy @('cp', (Join-Path $tree 'sub\file 1'), "${loopback}:/open", '--overwrite') 60)
        } finally { $held.Close() }
        $run
    }
    $measured = "hyperv:loopback:$($Port + 2)"
    Test-Step 'loopback: bench' {
        $null = Start-Listener @('bench', '--serve', $measured, '--open') 'answering'
        Assert-Done (Invoke-Hvcopy @('bench', $measured, '--json') 300)
    }
    Test-Step 'loopback: a killed receiver is exit 6, and the copy goes on' {
        $address = "hyperv:loopback:$($Port + 3)"
        $server = Start-Listener @('serve', $address, '--root', $root, '--open') 'serving'
        $words = @('cp', (Join-Path $tree 'large'), "${address}:/broken", '--bwlimit', '32M')
        $killer = Start-Job { param($id) Start-Sleep 3; Stop-Process -Force -Id $id } -ArgumentList $server.process.Id
        $broken = Invoke-Hvcopy $words
        $null = Wait-Job $killer
        if ($broken.status -ne 6) { throw "status $($broken.status), expected 6: $($broken.err)" }
        $null = Start-Listener @('serve', $address, '--root', $root, '--open') 'serving'
        $again = Assert-Done (Invoke-Hvcopy ($words[0..2] + '--json'))
        @($broken, $again)
    }
    if ($Guest) { Test-Address "guest $Guest" "hyperv:${Guest}:$Port" }
    if ($Wsl) { Test-Address 'WSL2' "hyperv:wsl:$Port" }
    if ($Register) {
        Test-Step 'service register' {
            $known = (Invoke-Hvcopy @('service', 'list') 60).out
            if ($known -notmatch "\b$($Port + 1)\b") {
                $run = Assert-Done (Invoke-Hvcopy @('service', 'register', "$($Port + 1)", '--name', 'hvcopy test') 60)
                $script:registered = $true
                $run
            }
        }
    }
    if ($WaitForGuest) {
        Test-Step 'a guest sends to this host' {
            $words = @('recv', '-l', "hyperv:children:$($Port + 1)", (Join-Path $work 'root'), '--open', '--json')
            Write-Host "`n  now, in the guest: hvcopy send FILE vsock:host:$($Port + 1) (Windows: hyperv:parent:$($Port + 1))"
            Assert-Done (Invoke-Hvcopy $words $WaitForGuest)
        }
    }
} finally {
    foreach ($server in $servers) { if (-not $server.HasExited) { $server.Kill(); $server.WaitForExit() } }
    if ($registered) { $null = Invoke-Hvcopy @('service', 'unregister', "$($Port + 1)", '--yes') 60 }
    [pscustomobject]@{ schema = 1; machine = $facts; checks = $checks } | ConvertTo-Json -Depth 6 | Set-Content -Encoding UTF8 $Result
    Remove-Item -Recurse -Force $work -ErrorAction SilentlyContinue
    $failed = @($checks | Where-Object { -not $_.ok }).Count
    Write-Host "$($checks.Count) checks, $failed failed; written to $Result"
}
exit [int]($failed -gt 0)
