# Starts hvcopy in this process's own console, waits until it has said something, presses Ctrl-C there; ends with hvcopy's
# exit code. What goes wrong here is written beside the outputs, for a hidden console shows it to nobody.
param([string]$Request)
$ErrorActionPreference = 'Stop'
$asked = ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($Request))
try {
    Add-Type -Namespace HvcopyTest -Name Console -MemberDefinition @'
[DllImport("kernel32.dll", SetLastError = true)] public static extern bool SetConsoleCtrlHandler(IntPtr handler, bool add);
[DllImport("kernel32.dll", SetLastError = true)] public static extern bool GenerateConsoleCtrlEvent(uint kind, uint group);
'@
    # A process inherits that Ctrl-C is ignored: hvcopy must not, and this one ignores it only from then on.
    $null = [HvcopyTest.Console]::SetConsoleCtrlHandler([IntPtr]::Zero, $false)
    $process = Start-Process -FilePath $asked.program -ArgumentList $asked.line -NoNewWindow -PassThru `
        -WorkingDirectory $asked.folder -RedirectStandardInput "$($asked.log).in" `
        -RedirectStandardOutput "$($asked.log).out" -RedirectStandardError "$($asked.log).err"
    $null = $process.Handle
    $share = [IO.FileShare]::ReadWrite -bor [IO.FileShare]::Delete
    $clock = [Diagnostics.Stopwatch]::StartNew()
    do {
        if ($process.HasExited) { throw "hvcopy ended by itself, with $($process.ExitCode)" }
        if ($clock.Elapsed.TotalSeconds -gt 60) { throw "hvcopy did not say '$($asked.says)' within 60 s" }
        Start-Sleep -Milliseconds 50
        $stream = [IO.FileStream]::new("$($asked.log).err", [IO.FileMode]::Open, [IO.FileAccess]::Read, $share)
        try { $said = [IO.StreamReader]::new($stream).ReadToEnd() } finally { $stream.Dispose() }
    } until ($said -match $asked.says)
    $null = [HvcopyTest.Console]::SetConsoleCtrlHandler([IntPtr]::Zero, $true)
    if (-not [HvcopyTest.Console]::GenerateConsoleCtrlEvent(0, 0)) { throw 'GenerateConsoleCtrlEvent failed' }
    if (-not $process.WaitForExit(60000)) { throw 'hvcopy goes on 60 s after Ctrl-C' }
    exit $process.ExitCode
} catch {
    [IO.File]::WriteAllText("$($asked.log).trouble", [string]$_)
    exit 250
}
