# Files for the checks: made, compared, looked at.

# 200 small files, names of other scripts, one large file of random bytes; 202 in all.
function New-Tree([string]$Folder, [int]$Size) {
    $null = New-Item -ItemType Directory -Path (Join-Path $Folder 'sub\deeper') -Force
    $random = [Random]::new(1)
    foreach ($number in 1..200) {
        $bytes = [byte[]]::new($number * 37)
        $random.NextBytes($bytes)
        [IO.File]::WriteAllBytes((Join-Path $Folder "sub\file $number"), $bytes)
    }
    [IO.File]::WriteAllText((Join-Path $Folder ('sub\deeper\' + [char]0xDC + 'n' + [char]0x4E2D + '.txt')), 'text')
    $stream = [IO.File]::Create((Join-Path $Folder 'large'))
    try {
        $bytes = [byte[]]::new(1048576)
        foreach ($number in 1..$Size) {
            $random.NextBytes($bytes)
            $stream.Write($bytes, 0, $bytes.Length)
        }
    } finally {
        $stream.Dispose()
    }
}

function Get-Digest([string]$Path) { (Get-FileHash -Algorithm SHA256 -LiteralPath $Path).Hash }

# One line a file: its path below the folder, and its digest.
function Get-Digests([string]$Folder) {
    foreach ($path in [IO.Directory]::GetFiles($Folder, '*', [IO.SearchOption]::AllDirectories)) {
        $path.Substring($Folder.Length) + ' ' + (Get-Digest $path)
    }
}

function Assert-SameTree([string]$One, [string]$Other) {
    $left = @(Get-Digests $One)
    $right = @(Get-Digests $Other)
    Assert-True ($left.Count -gt 0) "no file in $One"
    $difference = @(Compare-Object -ReferenceObject $left -DifferenceObject $right)
    Assert-True ($difference.Count -eq 0) "they differ: $($difference | Out-String)"
}

function Assert-SameFile([string]$One, [string]$Other) {
    Assert-True ((Get-Digest $One) -eq (Get-Digest $Other)) "they differ: $One, $Other"
}

function Get-OpenLength([string]$Path) {
    if (-not [IO.File]::Exists($Path)) { return 0 }
    $share = [IO.FileShare]::ReadWrite -bor [IO.FileShare]::Delete
    $stream = [IO.FileStream]::new($Path, [IO.FileMode]::Open, [IO.FileAccess]::Read, $share)
    try { $stream.Length } finally { $stream.Dispose() }
}

# What PowerShell has no command for: marking a file sparse (FSCTL_SET_SPARSE), and what it takes on the disk.
function Add-SparseCalls {
    if ('HvcopyTest.Sparse' -as [type]) { return }
    Add-Type -Namespace HvcopyTest -Name Sparse -MemberDefinition @'
[DllImport("kernel32.dll", SetLastError = true)]
static extern bool DeviceIoControl(Microsoft.Win32.SafeHandles.SafeFileHandle file, uint code, IntPtr input, uint inputSize,
    IntPtr output, uint outputSize, out uint returned, IntPtr overlapped);
[DllImport("kernel32.dll", SetLastError = true, CharSet = CharSet.Unicode)]
static extern uint GetCompressedFileSizeW(string path, out uint high);
public static bool Mark(Microsoft.Win32.SafeHandles.SafeFileHandle file)
{
    uint returned;
    return DeviceIoControl(file, 0x000900C4, IntPtr.Zero, 0, IntPtr.Zero, 0, out returned, IntPtr.Zero);
}
public static long Allocated(string path)
{
    uint high;
    uint low = GetCompressedFileSizeW(path, out high);
    return ((long)high << 32) | low;
}
'@
}

# 64 MiB, of which the first and the last 64 KiB are there.
function New-SparseFile([string]$Path) {
    $bytes = [byte[]]::new(65536)
    [Random]::new(2).NextBytes($bytes)
    $stream = [IO.File]::Create($Path)
    try {
        if (-not [HvcopyTest.Sparse]::Mark($stream.SafeFileHandle)) { Skip-Check 'the disk that TEMP is on has no sparse files' }
        $stream.SetLength(64mb)
        $stream.Write($bytes, 0, $bytes.Length)
        $stream.Position = 64mb - $bytes.Length
        $stream.Write($bytes, 0, $bytes.Length)
    } finally {
        $stream.Dispose()
    }
}
