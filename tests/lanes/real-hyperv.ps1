<#
.SYNOPSIS
Shows on a real Hyper-V what no lane can: hvcopy over AF_HYPERV, on this host and with its guests.

.DESCRIPTION
Writes one JSON file with each check's outcome, real-hyperv-TIME.json in this folder, or in TEMP where this one cannot be
written to, and says which; send that file back. Exit status: 0 when none failed, else 1.
Makes a folder under TEMP, on NTFS or ReFS, and removes it; -Register registers the port after -Port, and unregisters it
unless it was registered before; -Suspend pauses and saves the guest, and has it run again. What is copied into a guest's
folder stays there, so serve an empty one. Needs Windows PowerShell 5.1 or newer, the folder real-hyperv beside this file,
an elevated prompt for the guests, and hvcopy on PATH (or -Hvcopy C:\...\hvcopy.exe). Run it in a plain prompt, too: what happens without rights
is shown there only. Blocked by Windows' policy for scripts:  powershell -ExecutionPolicy Bypass -File real-hyperv.ps1

.EXAMPLE
.\real-hyperv.ps1
Processes of this machine, over hyperv:loopback.

.EXAMPLE
.\real-hyperv.ps1 -Guest 'My Linux VM'
After this in the guest:  hvcopy serve vsock:any:18518 --root /tmp/hv --allow vsock:host --timeout 5m
(in a Windows guest:      hvcopy serve hyperv:parent:18518 --root C:\hv --allow hyperv:parent --timeout 5m)
With -Suspend the VM is paused and saved during copies; with -GuestEcho half-close is tried on the port after next,
where this runs in a Linux guest:  socat VSOCK-LISTEN:18520,fork EXEC:cat

.EXAMPLE
.\real-hyperv.ps1 -Guest 'My Linux VM' -Register -WaitForGuest 300
The host listens, and says what is to be typed in the guest, twice: once to be refused, once to be let in by the VM's id.

.EXAMPLE
.\real-hyperv.ps1 -Wsl
As with a Linux guest, with WSL2.
#>
param(
    [string]$Hvcopy = 'hvcopy',
    [ValidateRange(1, 2147483000)][int]$Port = 18518,
    [string]$Guest = '',
    [switch]$Wsl,
    [switch]$Suspend,
    [switch]$GuestEcho,
    [switch]$Register,
    [ValidateRange(0, 86400)][int]$WaitForGuest = 0,
    [ValidateRange(64, 65536)][int]$Megabytes = 256,
    [string]$Result = 'real-hyperv.json'
)
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
foreach ($part in 'running', 'checking', 'files', 'machine', 'address', 'loopback', 'streams', 'interrupts', 'guest') {
    . (Join-Path $PSScriptRoot "real-hyperv\$part.ps1")
}
$resultPath = New-Result ($ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Result))
$script:work = Join-Path ([IO.Path]::GetTempPath()) ('hvcopy-real-' + [guid]::NewGuid().ToString('N').Substring(0, 8))
$script:tree = Join-Path $script:work 'tree'
$script:large = Join-Path $script:tree 'large'
$script:slowRate = '{0}k' -f ($Megabytes * 32)   # 32 s for the large file, whatever its size
$script:program = ''
$script:registered = $false
$script:touched = $false
$encodingBefore = $env:PYTHONIOENCODING
$failed = 1
try {
    $env:PYTHONIOENCODING = 'utf-8'
    $null = New-Item -ItemType Directory -Path $script:work
    $script:program = (Get-Command -Name $Hvcopy -CommandType Application | Select-Object -First 1).Path
    $identity = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
    $script:elevated = $identity.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
    New-Tree $script:tree $Megabytes

    Test-Machine
    if ($Register) { Test-Registration ($Port + 1) }
    $root = Join-Path $script:work 'root'
    $null = New-Item -ItemType Directory -Path $root
    Test-Loopback $root
    if ($Guest) { Test-Guest }
    if ($Wsl) { Test-Address 'WSL2' "hyperv:wsl:$Port" }
    if ($WaitForGuest) { Test-FromGuest $root ($Port + 1) }
} catch {
    # No check: what they stand on. Told as a failed one.
    $broken = "$($_.Exception.Message) ($($_.InvocationInfo.ScriptName):$($_.InvocationInfo.ScriptLineNumber))"
    Test-Step 'the script itself' { throw $broken }
} finally {
    Stop-Everything
    if ($script:touched) { Test-Step 'the guest runs again' { Restore-Guest } }
    if ($script:registered) { Test-Unregistration ($Port + 1) }
    Stop-Everything
    $failed = @($script:checks | Where-Object { $_.result -eq 'failed' }).Count
    Remove-Work
    $env:PYTHONIOENCODING = $encodingBefore
    try { Save-Result $resultPath } catch {
        Write-Host "$resultPath cannot be written: $_"
        $resultPath = New-Result (Join-Path ([IO.Path]::GetTempPath()) 'real-hyperv.json')
        Save-Result $resultPath
    }
    Write-Host "$($script:checks.Count) checks, $failed failed; written to $resultPath"
}
if ($failed) { exit 1 }
exit 0
