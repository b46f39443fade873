# What hvcopy says of this machine, compared with what Windows says; and the registration of services.

$script:registry = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Virtualization\GuestCommunicationServices'

function Assert-Finding($Json, [string]$Id, [string]$State = 'ok') {
    $found = @($Json.findings | Where-Object { $_.id -eq $Id })
    Assert-True ($found.Count -eq 1) "no finding $Id"
    Assert-True ($found[0].state -eq $State) "$Id is $($found[0].state): $($found[0].what)"
}

function Test-Machine {
    Test-Step 'the machine' {
        $system = Get-CimInstance Win32_OperatingSystem
        $script:facts.date = (Get-Date).ToString('s')
        $script:facts.windows = [string]$system.Caption
        $script:facts.build = [string]$system.BuildNumber
        $script:facts.powershell = [string]$PSVersionTable.PSVersion
        $script:facts.elevated = $script:elevated
        $script:facts.disk = [IO.DriveInfo]::new([IO.Path]::GetPathRoot($script:work)).DriveFormat
        $script:facts.megabytes = $Megabytes
        $version = Invoke-Hvcopy @('--version') 60
        Assert-Status $version 0
        Assert-Says $version '^hvcopy \d'
        $script:facts.hvcopy = $version.out.Trim()
    }
    Test-Step 'doctor: other machines can be reached' {
        $json = Read-Json (Invoke-Hvcopy @('doctor', '--json') 60) 0
        foreach ($id in 'hyperv.build', 'hyperv.python', 'hyperv.socket', 'way') { Assert-Finding $json $id }
        $isHost = Test-Path -LiteralPath 'HKLM:\SYSTEM\CurrentControlSet\Services\vmms'
        $isGuest = (Get-CimInstance Win32_ComputerSystem).Model -eq 'Virtual Machine'
        $role = if ($isHost -or $isGuest) { 'ok' } else { 'warn' }   # only what WSL2 needs
        Assert-Finding $json 'hyperv.role' $role
        if ($script:elevated) { Assert-Finding $json 'hyperv.rights' }
    }
    Test-Step 'vms: the VMs that Get-VM tells' {
        $asked = Invoke-Hvcopy @('vms', '--json') 120
        $known = $null
        $refusal = ''
        try { $known = @(Get-VM | ForEach-Object { ([string]$_.Id).ToLowerInvariant() }) } catch { $refusal = [string]$_ }
        if ($null -eq $known) {
            $null = Read-Json $asked 3, 9, 10
            Skip-Check "hvcopy says that Hyper-V cannot be asked, and so says Get-VM: $refusal"
        }
        $json = Read-Json $asked 0
        $told = @($json.vms | Where-Object { $_.kind -eq 'hyperv' } | ForEach-Object { $_.id })
        Assert-True ((($known | Sort-Object) -join ' ') -eq (($told | Sort-Object) -join ' ')) "Get-VM: $known; hvcopy: $told"
    }
    Test-Step 'service list: the keys of the registry' {
        $keys = @(if (Test-Path -LiteralPath $script:registry) { Get-ChildItem -LiteralPath $script:registry })
        $bad = @($keys | Where-Object { $null -eq ($_.PSChildName -as [guid]) -or $_.GetValue('ElementName') -isnot [string] })
        $expected = if ($bad.Count) { 10 } else { 0 }
        $json = Read-Json (Invoke-Hvcopy @('service', 'list', '--json') 60) $expected
        Assert-True (@($json.services).Count -eq $keys.Count) "$($keys.Count) keys, $(@($json.services).Count) services"
    }
    Test-Step 'service guid and port' {
        $guid = Invoke-Hvcopy @('service', 'guid', '18518') 60
        Assert-Status $guid 0
        Assert-True ($guid.out.Trim() -eq '00004856-facb-11e6-bd58-64006a7986d3') "says $($guid.out)"
        $number = Invoke-Hvcopy @('service', 'port', '{00004856-FACB-11E6-BD58-64006A7986D3}') 60
        Assert-Status $number 0
        Assert-True ($number.out.Trim() -eq '18518') "says $($number.out)"
    }
    Test-Step 'service register without rights: exit 9, the command that has them, nothing changed' {
        if ($script:elevated) { Skip-Check 'this prompt is elevated; a plain one shows it' }
        $before = @(Get-ChildItem -LiteralPath $script:registry -ErrorAction SilentlyContinue).Count
        $refused = Invoke-Hvcopy @('service', 'register', '1999999999') 60
        Assert-Status $refused 9
        Assert-Says $refused 'Start-Process -Verb RunAs .*service register 1999999999'
        $after = @(Get-ChildItem -LiteralPath $script:registry -ErrorAction SilentlyContinue).Count
        Assert-True ($before -eq $after) 'a registration was added'
    }
    Test-Step 'nobody listens on this machine: exit 4' {
        $refused = Invoke-Hvcopy @('ls', "hyperv:loopback:$($Port + 20)") 60
        Assert-Status $refused 4
    }
}

function Test-Registration([int]$Number) {
    Test-Step 'service register' {
        $json = Read-Json (Invoke-Hvcopy @('service', 'list', '--json') 60) 0, 3, 10
        $there = @($json.services | Where-Object { $_.port -eq $Number })
        if ($there.Count) { Skip-Check "port $Number is registered already, and stays so" }
        if (-not $script:elevated) { Skip-Check 'it takes an elevated prompt' }
        $script:registered = $true
        $made = Read-Json (Invoke-Hvcopy @('service', 'register', "$Number", '--name', "hvcopy test $Number", '--json') 60) 0
        Assert-True (@($made.registered).Count -eq 1) 'nothing was registered'
        $key = Get-Item -LiteralPath (Join-Path $script:registry ([string]$made.registered[0]))
        Assert-True ($key.GetValue('ElementName') -eq "hvcopy test $Number") 'the registry has another name'
        $again = Invoke-Hvcopy @('service', 'register', "$Number", '--name', "hvcopy test $Number") 60
        Assert-Status $again 0
        $other = Invoke-Hvcopy @('service', 'register', "$Number", '--name', 'another name') 60
        Assert-Status $other 10
    }
}

function Test-Unregistration([int]$Number) {
    Test-Step 'service unregister' {
        $json = Read-Json (Invoke-Hvcopy @('service', 'unregister', "$Number", '--yes', '--json') 60) 0
        Assert-True (@($json.removed).Count -eq 1) 'nothing was removed'
        $script:registered = $false
    }
}
