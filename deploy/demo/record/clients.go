package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/crypto/ssh"
)

// site is a website outside, by name and address.
type site struct{ name, address string }

// sites are where the office browses, the most visited first.
var sites = []site{
	{"mail.example", "192.0.2.50"}, {"docs.example", "192.0.2.30"}, {"news.example", "192.0.2.10"},
	{"api.saas.test", "192.0.2.60"}, {"shop.test", "192.0.2.20"}, {"video.example", "192.0.2.40"},
}

// intranets are the company's own sites, over plain HTTP, all answered by one server.
var intranets = []site{
	{intranetName, intranet}, {"wiki.corp.test", "10.20.0.84"}, {"tickets.corp.test", "10.20.0.85"}, {"files.corp.test", "10.20.0.86"},
}

// office are the workstations with a life of their own.
var office = []string{"10.20.1.11", "10.20.1.12", "10.20.1.13", "10.20.1.14", "10.20.1.15"}

const (
	beaconName    = "update-check.example"
	beaconTarget  = "203.0.113.50"
	beaconHost    = "10.20.1.13"
	beaconRecords = 32 // connections recorded; the calendar repeats them
	uploadName    = "drop.example"
	uploadTarget  = "198.51.100.77"
	uploadHost    = "10.20.1.14"
	uploads       = 8 // of 10 MiB each
	mirrorName    = "mirror.example"
	mirrorTarget  = "192.0.2.200"
	mirrorHost    = "10.20.1.15"
	intranetName  = "intranet.corp.test"
	intranet      = "10.20.0.80"
	backupTarget  = "10.20.0.22"
	scanner       = "10.20.1.16"
	sweeper       = "10.20.1.17"
	victimAddress = "10.20.0.81:8443"
)

// browser is an HTTP client that sends from one address and dials target whatever the URL's name is.
func browser(keys, from, target string, adapt func(*tls.Config), http2 bool) (*http.Client, error) {
	config, err := clientTLS(keys)
	if err != nil {
		return nil, err
	}
	// The post-quantum key share would make every ClientHello two packets of noise; the zoo has it.
	config.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
	if adapt != nil {
		adapt(config)
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: http2}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
		return dialer.DialContext(ctx, network, net.JoinHostPort(target, port))
	}
	return &http.Client{Transport: transport, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// fetch does one request and reads the answer to its end.
func fetch(ctx context.Context, client *http.Client, method, url, agent string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if agent != "" {
		request.Header.Set("User-Agent", agent)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	return nil
}

// curl runs the real curl from one address, with the name pinned to target.
func curl(ctx context.Context, keys, from, name, target string, more ...string) error {
	args := []string{"-sS", "-o", "/dev/null", "--max-time", "30", "--interface", from, "--cacert", filepath.Join(keys, "ca.pem"),
		"--resolve", name + ":443:" + target, "--resolve", name + ":80:" + target}
	out, err := exec.CommandContext(ctx, "curl", append(args, more...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("curl %s: %s: %w", strings.Join(more, " "), strings.TrimSpace(string(out)), err)
	}
	return nil
}

// clientOffice visits every site from every workstation a few times: the sessions that the calendar repeats.
func clientOffice(ctx context.Context, keys string) error {
	random := rand.New(rand.NewPCG(20, 1))
	size := func(low, high int) int { // log-uniform would be truer; the square does for a skew
		x := random.Float64()
		return low + int(x*x*float64(high-low))
	}
	for h, host := range office {
		for _, site := range sites {
			lookup, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err := resolver(host, false).LookupNetIP(lookup, "ip", site.name)
			cancel()
			if err != nil {
				return fmt.Errorf("resolve %s: %w", site.name, err)
			}
			for range 2 {
				page := fmt.Sprintf("https://%s/inbox/%d?bytes=%d", site.name, random.IntN(1000), size(1500, 40000))
				form := bytes.Repeat([]byte("field=value&"), size(10, 700))
				if h == 0 || h == 3 {
					client, err := browser(keys, host, site.address, nil, h == 3)
					if err != nil {
						return err
					}
					if err := fetch(ctx, client, "GET", page, "", nil); err != nil {
						return err
					}
					if random.IntN(2) == 0 {
						if err := fetch(ctx, client, "POST", page, "", form); err != nil {
							return err
						}
					}
					client.CloseIdleConnections()
					continue
				}
				args := []string{"--http1.1", "-A", []string{"", "curl/7.88.1", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Demo/1.0"}[h]}
				if h == 2 {
					args = append(args, "--tls-max", "1.2")
				}
				if random.IntN(2) == 0 {
					args = append(args, "--data-binary", string(form))
				}
				if err := curl(ctx, keys, host, site.name, site.address, append(args, page)...); err != nil {
					return err
				}
			}
		}
		for range 2 {
			for _, site := range intranets {
				var args []string
				for range 1 + random.IntN(3) {
					args = append(args, fmt.Sprintf("http://%s/page/%d?bytes=%d", site.name, random.IntN(500), size(800, 25000)), "-o", "/dev/null")
				}
				if err := curl(ctx, keys, host, site.name, site.address, args...); err != nil {
					return err
				}
			}
			if err := askNTP(ctx, host); err != nil {
				return err
			}
		}
		lookup, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := resolver(host, false).LookupNetIP(lookup, "ip4", intranetName)
		cancel()
		if err != nil {
			return fmt.Errorf("resolve %s: %w", intranetName, err)
		}
	}
	return nil
}

// clientBeacon checks in with its controller, a new connection each time, with sizes that hardly differ.
func clientBeacon(ctx context.Context, keys string) error {
	random := rand.New(rand.NewPCG(20, 2))
	for i := range beaconRecords {
		client, err := browser(keys, beaconHost, beaconTarget, nil, false)
		if err != nil {
			return err
		}
		url := fmt.Sprintf("https://%s/v1/status?id=4f1c22&seq=%06d&bytes=%d", beaconName, i, 90+random.IntN(30))
		if err := fetch(ctx, client, "GET", url, "updater/2.3", nil); err != nil {
			return err
		}
		client.CloseIdleConnections()
		pause(ctx, 20*time.Millisecond)
	}
	return ctx.Err()
}

// clientZoo is the variety of protocols that Go's own clients speak; curl, openssl, ssh and ping are started by the lab.
func clientZoo(ctx context.Context, keys string) error {
	const host, host6 = "10.20.1.21", "fd00:20::1:21"
	return errors.Join(zooDNS(ctx, host), zooDNS(ctx, host6), zooWeb(ctx, keys, host, host6), zooQUIC(ctx, keys, host), zooSSH(ctx, host))
}

func zooDNS(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	ask := resolver(host, false)
	for _, name := range []string{"www.example.com", "mail.example", "intranet.corp.test"} {
		if _, err := ask.LookupNetIP(ctx, "ip", name); err != nil {
			return fmt.Errorf("resolve %s: %w", name, err)
		}
	}
	if _, err := ask.LookupNetIP(ctx, "ip4", "no-such-name.example"); err == nil {
		return errors.New("resolve no-such-name.example: found, but it is not in the zone")
	}
	if _, err := ask.LookupCNAME(ctx, "www.example.com"); err != nil {
		return fmt.Errorf("resolve CNAME: %w", err)
	}
	for _, name := range []string{"corp.test", "_dmarc.corp.test", "large.corp.test"} { // the last one goes on over TCP
		if _, err := ask.LookupTXT(ctx, name); err != nil {
			return fmt.Errorf("resolve TXT %s: %w", name, err)
		}
	}
	if _, err := ask.LookupMX(ctx, "corp.test"); err != nil {
		return fmt.Errorf("resolve MX: %w", err)
	}
	if _, err := ask.LookupAddr(ctx, "10.20.1.10"); err != nil {
		return fmt.Errorf("resolve PTR: %w", err)
	}
	if _, err := resolver(host, true).LookupNetIP(ctx, "ip4", "docs.example"); err != nil {
		return fmt.Errorf("resolve over TCP: %w", err)
	}
	return nil
}

func zooWeb(ctx context.Context, keys, host, host6 string) error {
	for _, c := range []struct {
		from, target, name string
		adapt              func(*tls.Config)
		http2              bool
	}{
		{host, "192.0.2.10", "tls13.example", nil, false},
		{host, "192.0.2.10", "tls13-h2.example", nil, true},
		{host, "192.0.2.20", "tls12.example", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, false},
		{host, "192.0.2.20", "tls12-chacha.example", func(c *tls.Config) {
			c.MaxVersion = tls.VersionTLS12
			c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}
		}, false},
		{host, "192.0.2.30", "post-quantum.example", func(c *tls.Config) { c.CurvePreferences = nil }, false},
		{host6, "2001:db8:ee::80", "six.example", nil, true},
	} {
		client, err := browser(keys, c.from, c.target, c.adapt, c.http2)
		if err != nil {
			return err
		}
		if err := fetch(ctx, client, "GET", "https://"+c.name+"/?bytes=3000", "", nil); err != nil {
			return err
		}
		client.CloseIdleConnections()
	}
	// Plain HTTP, several requests on one connection.
	client, err := browser(keys, host, intranet, nil, false)
	if err != nil {
		return err
	}
	for _, r := range []struct{ method, url, agent, body string }{
		{"GET", "http://intranet.corp.test/", "demo-client/1.0", ""},
		{"HEAD", "http://intranet.corp.test/large?bytes=100000", "demo-client/1.0", ""},
		{"GET", "http://intranet.corp.test/missing?status=404", "", ""},
		{"POST", "http://intranet.corp.test/form", "", "name=demo&colour=green"},
		{"PUT", "http://intranet.corp.test/notes/1.txt", "Mozilla/5.0 (X11; Linux x86_64) Demo/1.0", "a note"},
		{"DELETE", "http://intranet.corp.test/notes/1.txt?status=204", "", ""},
		{"OPTIONS", "http://intranet.corp.test/", "", ""},
		{"GET", "http://intranet.corp.test/old?status=301", "", ""},
		{"GET", "http://wiki.corp.test/page?bytes=9000", "", ""},
		{"GET", "http://intranet.corp.test/broken?status=500", "", ""},
		{"GET", "http://intranet.corp.test/same?status=304", "", ""},
	} {
		if err := fetch(ctx, client, r.method, r.url, r.agent, []byte(r.body)); err != nil {
			return err
		}
	}
	client.CloseIdleConnections()
	return nil
}

func zooQUIC(ctx context.Context, keys, host string) error {
	config, err := clientTLS(keys)
	if err != nil {
		return err
	}
	config.CurvePreferences = []tls.CurveID{tls.X25519}
	target := &net.UDPAddr{IP: net.ParseIP(quicAddress), Port: 443}
	for _, version := range []quic.Version{quic.Version1, quic.Version2} {
		for _, name := range []string{"video.example", "quic.example"} {
			// A socket of its own for each connection: two that share one take each other's packets.
			socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(host)})
			if err != nil {
				return fmt.Errorf("open QUIC socket: %w", err)
			}
			transport := &http3.Transport{TLSClientConfig: config, QUICConfig: &quic.Config{Versions: []quic.Version{version}}}
			transport.Dial = func(ctx context.Context, _ string, t *tls.Config, q *quic.Config) (*quic.Conn, error) {
				return quic.DialEarly(ctx, socket, target, t, q)
			}
			err = fetch(ctx, &http.Client{Transport: transport, Timeout: 10 * time.Second}, "GET", "https://"+name+"/clip?bytes=20000", "", nil)
			transport.Close()
			socket.Close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// zooSSH is a client that is not OpenSSH; it is refused, which is its point.
func zooSSH(ctx context.Context, host string) error {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}, Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", backupTarget+":22")
	if err != nil {
		return fmt.Errorf("dial SSH: %w", err)
	}
	defer conn.Close()
	_, _, _, err = ssh.NewClientConn(conn, backupTarget, &ssh.ClientConfig{
		User: "nobody", Auth: []ssh.AuthMethod{ssh.Password("wrong")}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 5 * time.Second,
	})
	if err == nil {
		return errors.New("dial SSH: a wrong password was accepted")
	}
	return nil
}
