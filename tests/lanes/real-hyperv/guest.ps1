# With a guest: it listens, it is paused, it connects.

function Get-TestVm {
    $found = @(if ($Guest -as [guid]) { Get-VM -Id ([guid]$Guest) } else { Get-VM -Name $Guest })
    Assert-True ($found.Count -eq 1) "$($found.Count) VMs are named $Guest"
    $found[0]
}

function Restore-Guest {
    $vm = Get-TestVm
    if ([string]$vm.State -eq 'Paused') { Resume-VM -VM $vm }
    if ([string]$vm.State -eq 'Saved') { Start-VM -VM $vm }
    $vm = Get-TestVm
    Assert-True ([string]$vm.State -eq 'Running') "the VM is $($vm.State)"
}

function Test-Guest {
    $address = "hyperv:${Guest}:$Port"
    Test-Address "guest $Guest" $address
    Test-Step 'guest: its id is as good as its name' {
        $byId = Invoke-Hvcopy @('ls', "hyperv:$((Get-TestVm).Id):$Port") 60
        Assert-Status $byId 0
    }
    Test-Step 'guest: nobody listens there: exit 4' {
        $nobody = Invoke-Hvcopy @('ls', "hyperv:${Guest}:$($Port + 20)") 60
        Assert-Status $nobody 4
    }
    Test-Step 'guest: half-close' {
        if (-not $GuestEcho) { Skip-Check 'not asked for (-GuestEcho)' }
        $sent = Join-Path $script:tree 'sub\file 200'
        $echo = Wait-Run (Start-Hvcopy @('nc', '-N', '-w', '60', "hyperv:${Guest}:$($Port + 2)") $sent) 120
        Assert-Status $echo 0
        Assert-SameFile "$($echo.log).out" $sent
    }
    Test-Pause 'paused' $address { Suspend-VM -VM (Get-TestVm) }
    Test-Pause 'saved' $address { Save-VM -VM (Get-TestVm) }
    Test-Step 'guest: with no-suspend a pause ends the connection' {
        if (-not $Suspend) { Skip-Check 'not asked for (-Suspend)' }
        $slow = Start-SlowCopy "${address},no-suspend:/hv-pause-$([guid]::NewGuid().ToString('N'))" '5m'
        $script:touched = $true
        try {
            Suspend-VM -VM (Get-TestVm)
            $null = Read-Json (Wait-Run $slow 60) 6
        } finally {
            Restore-Guest
        }
    }
}

function Test-Pause([string]$State, [string]$Address, [scriptblock]$Pausing) {
    Test-Step "guest: $State and running again, a copy goes on" {
        if (-not $Suspend) { Skip-Check 'not asked for (-Suspend)' }
        $slow = Start-SlowCopy "${Address}:/hv-pause-$([guid]::NewGuid().ToString('N'))" '5m'
        $script:touched = $true
        try {
            $null = & $Pausing
            Start-Sleep -Seconds 10   # the pause itself
            Assert-True (-not $slow.process.HasExited) 'the copy ended while the VM stood still'
        } finally {
            Restore-Guest
        }
        $null = Read-Json (Wait-Run $slow 600) 0
    }
}

function Show-Request([int]$Number) {
    Write-Host ''
    Write-Host "  now, in the guest:   hvcopy cp FILE vsock:host:${Number}:/"
    Write-Host "  (in a Windows one:   hvcopy cp FILE hyperv:parent:${Number}:/)   within $WaitForGuest s"
}

function Test-FromGuest([string]$Root, [int]$Number) {
    $listening = "hyperv:children:$Number"
    Test-Step 'a guest that --allow does not name is refused' {
        $other = [guid]::NewGuid().ToString()
        $serving = Start-Listener @('serve', $listening, '--root', $Root, '--allow', "hyperv:$other") 'serving'
        try {
            Show-Request $Number
            Wait-Words $serving 'hyperv:[0-9a-f-]{36} is not on the list of allowed peers' $WaitForGuest
        } finally {
            Stop-Run $serving
        }
        if ($Guest) {
            $id = ([string](Get-TestVm).Id).ToLowerInvariant()
            Assert-Says $serving "hyperv:$id is not on the list of allowed peers"
        }
    }
    Test-Step 'a guest that --allow names is let in' {
        if (-not $Guest) { Skip-Check 'which one? (-Guest)' }
        $id = ([string](Get-TestVm).Id).ToLowerInvariant()
        $serving = Start-Listener @('serve', $listening, '--root', $Root, '--allow', "hyperv:$id", '-v') 'serving'
        try {
            Show-Request $Number
            Wait-Words $serving 'push: [1-9]\d* files' $WaitForGuest
        } finally {
            Stop-Run $serving
        }
    }
}
