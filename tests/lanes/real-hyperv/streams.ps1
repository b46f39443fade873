# pipe, nc and forward over hyperv:loopback; half-close.

function Test-Streams {
    $small = Join-Path $script:tree 'sub\file 200'
    Test-Step 'loopback: pipe, both ways at once' {
        $place = "hyperv:loopback:$($Port + 5)"
        $left = Join-Path $script:work 'pipe-left'
        $right = Join-Path $script:work 'pipe-right'
        $listening = Start-Listener @('pipe', '-l', $place, '--open', '-i', $small, '-o', $left, '--json') 'listening on'
        $json = Read-Json (Invoke-Hvcopy @('pipe', $place, '-i', $script:large, '-o', $right, '--json') 600) 0
        $null = Read-Json (Wait-Run $listening 60) 0
        Assert-SameFile $script:large $left
        Assert-SameFile $small $right
        "$($json.bytes_per_second) bytes a second"
    }
    Test-Step 'loopback: nc, both ways, each told its end by half-close' {
        $place = "hyperv:loopback:$($Port + 6)"
        $listening = Start-Hvcopy @('nc', '-l', $place, '--open', '-N') $small
        $calling = Wait-Run (Start-Hvcopy @('nc', '-N', '-w', '60', '--wait', '60', $place) $script:large) 600
        $answering = Wait-Run $listening 60
        Assert-Status $calling 0
        Assert-Status $answering 0
        Assert-SameFile "$($calling.log).out" $small
        Assert-SameFile "$($listening.log).out" $script:large
    }
    Test-Step 'loopback: nc -z finds nobody' {
        $nobody = Invoke-Hvcopy @('nc', '-z', '-w', '5', "hyperv:loopback:$($Port + 21)") 60
        Assert-Status $nobody 4
    }
    Test-Step 'loopback: forward passes an end on, and the answer after it' {
        $place = "hyperv:loopback:$($Port + 7)"
        $question = [byte[]]::new(60000)
        $answer = [byte[]]::new(50000)
        [Random]::new(3).NextBytes($question)
        [Random]::new(4).NextBytes($answer)
        $behind = [Net.Sockets.TcpListener]::new([Net.IPAddress]::Loopback, 0)
        $behind.Start()
        $client = $null
        $peer = $null
        try {
            $target = "tcp:127.0.0.1:$($behind.LocalEndpoint.Port)"
            $inner = Start-Listener @('forward', $place, $target, '--open') 'forwarding'
            $outer = Start-Listener @('forward', 'tcp:127.0.0.1:0', $place, '--open') 'forwarding'
            $number = [regex]::Match($outer.err, 'forwarding tcp:127\.0\.0\.1:(\d+) ').Groups[1].Value
            $client = [Net.Sockets.TcpClient]::new('127.0.0.1', [int]$number)
            $accepting = $behind.AcceptTcpClientAsync()
            Assert-True ($accepting.Wait(60000)) 'no connection came through'
            $peer = $accepting.Result
            foreach ($socket in $client, $peer) { $socket.ReceiveTimeout = 60000; $socket.SendTimeout = 60000 }
            $client.GetStream().Write($question, 0, $question.Length)
            $client.Client.Shutdown([Net.Sockets.SocketShutdown]::Send)
            $heard = Read-ToEnd $peer   # returns when the end has come through, with the other direction still open
            Assert-True ($heard -eq [Convert]::ToBase64String($question)) 'the question arrived changed'
            $peer.GetStream().Write($answer, 0, $answer.Length)
            $peer.Client.Shutdown([Net.Sockets.SocketShutdown]::Send)
            $heard = Read-ToEnd $client
            Assert-True ($heard -eq [Convert]::ToBase64String($answer)) 'the answer arrived changed'
        } finally {
            foreach ($socket in $client, $peer) { if ($socket) { $socket.Close() } }
            $behind.Stop()
        }
        Stop-Run $outer
        Stop-Run $inner
    }
}

# What a socket says until its end, as Base64: an array of bytes would be taken apart by PowerShell.
function Read-ToEnd($Socket) {
    $memory = [IO.MemoryStream]::new()
    $Socket.GetStream().CopyTo($memory)
    [Convert]::ToBase64String($memory.ToArray())
}
