package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// phases runs everything that is recorded, one capture after the other.
func (l *lab) phases() error {
	stopSSH, err := l.startSSH()
	if err != nil {
		return err
	}
	defer stopSSH()
	for ns, role := range map[string]string{"ext": "serve-outside", "srv": "serve-inside", "bak": "serve-backup"} {
		stop, err := l.start(ns, l.role(role)...)
		if err != nil {
			return err
		}
		defer stop()
	}
	for _, address := range []string{intranet, backupTarget, "192.0.2.10"} {
		if err := wait(l.ctx, func() bool { return l.command("usr", "curl", "-s", "-o", "/dev/null", "http://"+address+"/") == nil }); err != nil {
			return fmt.Errorf("wait for the server at %s: %w", address, err)
		}
	}
	blob := filepath.Join(l.keys, "blob")
	if err := writeRandom(blob, 10<<20); err != nil {
		return err
	}
	steps := []func() error{
		func() error { return l.mtu(1500) },
		func() error { return l.record("zoo", "", 0, l.zoo) },
		l.vlan,
		func() error {
			return l.record("scan", "host "+scanner, 0, func() error {
				return l.command("atk", "nmap", "-sS", "-Pn", "-n", "-S", scanner, "-e", "eth0", "-p", "1-240", "--max-rate", "12", "--max-retries", "1", intranet)
			})
		},
		func() error {
			return l.record("sweep", "host "+sweeper, 0, func() error {
				return l.command("atk", "nmap", "-sS", "-Pn", "-n", "-S", sweeper, "-e", "eth0", "-p", "445", "--max-rate", "5", "--max-retries", "1", "10.20.200.2-91")
			})
		},
		l.flooded,
		func() error { return l.mtu(9000) },
		// From here on as Windows does: without TCP timestamps, which no deflate can make small.
		func() error { return l.command("usr", "sysctl", "-qw", "net.ipv4.tcp_timestamps=0") },
		func() error { return l.command("srv", "sysctl", "-qw", "net.ipv4.tcp_timestamps=0") },
		func() error {
			return l.record("office", "tcp or udp", 0, func() error {
				if err := l.command("usr", l.role("office")...); err != nil {
					return err
				}
				for _, host := range []string{office[0], office[2]} {
					for _, size := range []int{3000, 40000} {
						if err := l.ssh(host, size); err != nil {
							return err
						}
					}
				}
				return nil
			})
		},
		func() error {
			return l.record("beacon", "host "+beaconTarget, 0, func() error { return l.command("usr", l.role("beacon")...) })
		},
		func() error {
			return l.record("upload", "host "+uploadTarget, 2048, func() error {
				for range uploads {
					if err := l.curl("usr", uploadHost, uploadName, uploadTarget, "--http1.1", "--limit-rate", "20M", "-T", blob, "https://"+uploadName+"/in/"); err != nil {
						return err
					}
				}
				return nil
			})
		},
		func() error {
			return l.record("download", "host "+mirrorTarget, 2048, func() error {
				return l.curl("usr", mirrorHost, mirrorName, mirrorTarget, "--limit-rate", "20M", "http://"+mirrorName+"/images/disk.iso?bytes=50331648")
			})
		},
		func() error {
			return l.record("backup", "host "+backupTarget, 2048, func() error {
				for i := range 7 {
					night := filepath.Join(l.keys, "night")
					if err := writeRandom(night, 5<<19+i*50000); err != nil {
						return err
					}
					if err := l.curl("srv", intranet, "backup.corp.test", backupTarget, "--http1.1", "--limit-rate", "20M", "-T", night, "https://backup.corp.test/nightly/"); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// zoo is the variety of protocols by the usual tools, uncut and in real time.
func (l *lab) zoo() error {
	if err := l.command("usr", l.role("zoo")...); err != nil {
		return err
	}
	ca := filepath.Join(l.keys, "ca.pem")
	get := `printf 'GET /?bytes=2000 HTTP/1.0\r\n\r\n' | timeout 10 openssl s_client -quiet -CAfile ` + ca + ` -bind 10.20.1.22 -connect 192.0.2.30:443 `
	for _, script := range []string{
		get + "-servername openssl12.example -tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256",
		get + "-servername openssl13.example -tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
		get + "-noservername -tls1_3",
		"ping -c 3 -i 0.2 -I 10.20.1.21 10.20.0.80",
		"ping -c 2 -i 0.2 -s 1200 -I 10.20.1.21 192.0.2.10",
		"ping -6 -c 3 -i 0.2 fd00:20::80",
	} {
		if err := l.command("usr", "bash", "-c", script); err != nil {
			return err
		}
	}
	for _, c := range [][]string{
		{"www.example.com", "192.0.2.20", "https://www.example.com/index.html?bytes=12000", "https://www.example.com/style.css?bytes=4000", "-o", "/dev/null"},
		{"tls12.shop.test", "192.0.2.20", "--tls-max", "1.2", "https://tls12.shop.test/basket"},
		{"api.saas.test", "192.0.2.60", "--http1.1", "-X", "POST", "-d", "{\"ok\":true}", "-H", "Content-Type: application/json", "https://api.saas.test/v1/items"},
		{"plain.example", "192.0.2.10", "http://plain.example/page?bytes=30000"},
		{"plain.example", "192.0.2.10", "-I", "http://plain.example/head"},
		{"plain.example", "192.0.2.10", "-A", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Demo/1.0", "http://plain.example/missing?status=404"},
	} {
		if err := l.curl("usr", "10.20.1.22", c[0], c[1], c[2:]...); err != nil {
			return err
		}
	}
	// A refused connection and one to nobody: REJ and S0.
	l.command("usr", "curl", "-s", "--interface", "10.20.1.22", "--max-time", "2", "http://10.20.0.80:8081/")
	l.command("usr", "curl", "-s", "--interface", "10.20.1.22", "--max-time", "2", "http://192.0.2.99/")
	if err := l.ssh("10.20.1.22", 20000); err != nil {
		return err
	}
	return l.command("usr", "bash", "-c", "curl -sS -g -o /dev/null 'http://[fd00:20::80]/six?bytes=5000'")
}

// vlan records the tagged traffic with the trunk program.
func (l *lab) vlan() error {
	stop, err := l.start("sw", l.role("trunk")...)
	if err != nil {
		return err
	}
	ready := func() bool { return l.command("usr", "ping", "-c", "1", "-W", "1", "10.20.30.80") == nil }
	if err := wait(l.ctx, ready); err != nil {
		stop()
		return fmt.Errorf("wait for the trunk: %w", err)
	}
	for _, url := range []string{"http://vlan.corp.test/?bytes=5000", "https://vlan.corp.test/secure?bytes=3000"} {
		if err := l.curl("usr", "10.20.30.11", "vlan.corp.test", "10.20.30.80", url); err != nil {
			stop()
			return err
		}
	}
	stop()
	text, err := os.ReadFile(filepath.Join(l.keys, "vlan.pcap"))
	if err != nil {
		return fmt.Errorf("read trunk's record: %w", err)
	}
	if err := os.WriteFile(filepath.Join(l.raw, "vlan.pcap"), text, 0o644); err != nil {
		return fmt.Errorf("write trunk's record: %w", err)
	}
	return nil
}

// flooded records the SYN flood against a server with a small backlog and no SYN cookies.
func (l *lab) flooded() error {
	if err := l.command("srv", "sysctl", "-qw", "net.core.somaxconn=16", "net.ipv4.tcp_max_syn_backlog=16", "net.ipv4.tcp_syncookies=0", "net.ipv4.tcp_synack_retries=2"); err != nil {
		return err
	}
	stop, err := l.start("srv", l.role("victim")...)
	if err != nil {
		return err
	}
	defer stop()
	host, port, _ := strings.Cut(victimAddress, ":")
	ready := func() bool {
		return l.command("usr", "bash", "-c", "exec 3<>/dev/tcp/"+host+"/"+port) == nil
	}
	if err := wait(l.ctx, ready); err != nil {
		return fmt.Errorf("wait for the victim: %w", err)
	}
	err = l.record("flood", "host "+host, 0, func() error { return l.command("ext", l.role("flood")...) })
	if err != nil {
		return err
	}
	return l.command("srv", "sysctl", "-qw", "net.core.somaxconn=4096", "net.ipv4.tcp_max_syn_backlog=4096", "net.ipv4.tcp_syncookies=1")
}

// curl runs curl in a namespace; see the function of the same name.
func (l *lab) curl(ns, from, name, target string, more ...string) error {
	args := []string{"curl", "-sS", "-o", "/dev/null", "--max-time", "60", "--interface", from, "--cacert", filepath.Join(l.keys, "ca.pem"),
		"--resolve", name + ":443:" + target, "--resolve", name + ":80:" + target}
	return l.command(ns, append(args, more...)...)
}

// startSSH runs a private sshd with keys of its own in the backup server's namespace.
func (l *lab) startSSH() (func(), error) {
	for _, key := range []string{"host", "user"} {
		if err := l.command("", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", filepath.Join(l.keys, key)); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return nil, fmt.Errorf("make sshd's folder: %w", err)
	}
	config := fmt.Sprintf("ListenAddress %s\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nPrintMotd no\n",
		backupTarget, l.keys, l.keys)
	file := filepath.Join(l.keys, "sshd_config")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("write sshd's configuration: %w", err)
	}
	stop, err := l.start("bak", "/usr/sbin/sshd", "-D", "-f", file, "-o", "LogLevel=ERROR")
	if err != nil {
		return nil, err
	}
	pause(l.ctx, 300*time.Millisecond)
	return stop, nil
}

// ssh logs in from an address and lets the server print size octets.
func (l *lab) ssh(from string, size int) error {
	return l.command("usr", "ssh", "-F", "none", "-b", from, "-i", filepath.Join(l.keys, "user"), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile="+filepath.Join(l.keys, "known"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "root@"+backupTarget, fmt.Sprintf("head -c %d /dev/zero", size))
}

func writeRandom(path string, size int) error {
	b := make([]byte, size)
	rand.Read(b) // never fails (crypto/rand)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("write upload: %w", err)
	}
	return nil
}
