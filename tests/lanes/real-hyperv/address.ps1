# Copies to and from a server at one address, whoever it is.

function Test-Address([string]$Label, [string]$Address) {
    $there = 'hv-' + [guid]::NewGuid().ToString('N').Substring(0, 8)
    $changing = Join-Path $script:work "changing-$there"
    Test-Step "${Label}: doctor finds that a copy would get through" {
        $json = Read-Json (Invoke-Hvcopy @('doctor', $Address, '--json') 60) 0
        foreach ($id in 'connect', 'greeting', 'version', 'access') { Assert-Finding $json $id }
    }
    Test-Step "${Label}: a tree goes there" {
        $json = Read-Json (Invoke-Hvcopy @('cp', '-r', $script:tree, "${Address}:/$there", '--json') 1800) 0
        Assert-True ($json.files -eq 202) "$($json.files) files, expected 202"
        Assert-True ($json.durability -eq 'synced') "durability is $($json.durability)"
        "$($json.bytes_per_second) bytes a second"
    }
    Test-Step "${Label}: it is listed" {
        $listing = Invoke-Hvcopy @('ls', "${Address}:/$there") 60
        Assert-Status $listing 0
        Assert-Says $listing '\blarge\b'
    }
    Test-Step "${Label}: it comes back the same" {
        $back = Join-Path $script:work "back-$there"
        $json = Read-Json (Invoke-Hvcopy @('cp', '-r', "${Address}:/$there", $back, '--json') 1800) 0
        Assert-True ($json.files -eq 202) "$($json.files) files, expected 202"
        Assert-SameTree $script:tree $back
        Remove-Item -LiteralPath $back -Recurse -Force
        "$($json.bytes_per_second) bytes a second"
    }
    Test-Step "${Label}: four lanes" {
        $json = Read-Json (Invoke-Hvcopy @('cp', $script:large, "${Address}:/$there-lanes", '--lanes', '4', '--json') 1800) 0
        Assert-True ($json.files -eq 1) "$($json.files) files, expected 1"
        "$($json.lanes) lanes, $($json.bytes_per_second) bytes a second"
    }
    Test-Step "${Label}: the same copy again is there already and verified" {
        $json = Read-Json (Invoke-Hvcopy @('cp', $script:large, "${Address}:/$there-lanes", '--json') 1800) 0
        Assert-True ($json.same -eq 1) "same is $($json.same), expected 1"
    }
    Test-Step "${Label}: a file that differs is refused with exit 10, and replaced with --overwrite" {
        [IO.File]::WriteAllText($changing, 'first')
        $null = Read-Json (Invoke-Hvcopy @('cp', $changing, "${Address}:/$there-file", '--json') 60) 0
        [IO.File]::WriteAllText($changing, 'second')
        $refused = Invoke-Hvcopy @('cp', $changing, "${Address}:/$there-file", '--json') 60
        $null = Read-Json $refused 10
        Assert-Says $refused 'exists already'
        $null = Read-Json (Invoke-Hvcopy @('cp', $changing, "${Address}:/$there-file", '--overwrite', '--json') 60) 0
        $null = Read-Json (Invoke-Hvcopy @('cp', "${Address}:/$there-file", "$changing-back", '--json') 60) 0
        Assert-SameFile $changing "$changing-back"
    }
}

# A copy of the large file that takes 32 s, once it is under way.
function Start-SlowCopy([string]$Target, [string]$Patience = '30') {
    $words = @('cp', $script:large, $Target, '--bwlimit', $script:slowRate, '--timeout', $Patience, '--progress', 'json', '--json')
    $slow = Start-Hvcopy $words
    Wait-Words $slow '"bytes": [1-9]'
    $slow
}
