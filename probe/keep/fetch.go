package keep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// FetchOptions say where packets are fetched from.
type FetchOptions struct {
	URL   string // of the probe, https://probe:9612
	Token string
	TLS   kit.TLS // Enabled is implied by an https URL
	Query Query
}

// Fetched tells what came.
type Fetched struct {
	Packets   uint64
	Bytes     int64
	Truncated bool // the probe's limit was reached: there are more
	Damaged   int  // blocks on the probe's disk that could not be read
}

// Fetch writes the packets of a flow, fetched from a probe, to out. A file that did
// not come whole is an error. A token is sent in the clear to loopback only.
func Fetch(ctx context.Context, opt FetchOptions, out io.Writer) (Fetched, error) {
	u, err := url.Parse(opt.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return Fetched{}, fmt.Errorf("fetch packets: %q is not a URL such as https://probe:9612", opt.URL)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return Fetched{}, kit.Hint(fmt.Errorf("fetch packets from %s: a token is not sent without encryption", u.Host), "use https")
	}
	if opt.Token == "" {
		return Fetched{}, errors.New("fetch packets: a token is needed")
	}
	opt.TLS.Enabled = u.Scheme == "https"
	secure, err := opt.TLS.Config()
	if err != nil {
		return Fetched{}, fmt.Errorf("fetch packets: %w", err)
	}
	transport := &http.Transport{TLSClientConfig: secure, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		ResponseHeaderTimeout: 15 * time.Minute, TLSHandshakeTimeout: 10 * time.Second}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	u = u.JoinPath("packets")
	u.RawQuery = opt.Query.Values().Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Fetched{}, fmt.Errorf("fetch packets: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+opt.Token)
	resp, err := client.Do(req)
	if err != nil {
		return Fetched{}, fmt.Errorf("fetch packets: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		return Fetched{}, fmt.Errorf("fetch packets from %s: %s: %s", u.Host, resp.Status, strings.Join(strings.Fields(string(text)), " "))
	}
	n, err := io.Copy(out, resp.Body)
	if err != nil {
		return Fetched{Bytes: n}, fmt.Errorf("fetch packets from %s: the file is not whole: %w", u.Host, err)
	}
	count, err := strconv.ParseUint(resp.Trailer.Get(trailerPackets), 10, 64)
	if err != nil {
		return Fetched{Bytes: n}, fmt.Errorf("fetch packets from %s: the file is not whole: its end is missing", u.Host)
	}
	f := Fetched{Packets: count, Bytes: n, Truncated: resp.Trailer.Get(trailerTruncated) == "true"}
	f.Damaged, _ = strconv.Atoi(resp.Trailer.Get(trailerDamaged)) // an older probe does not say
	return f, nil
}

// FetchFile is Fetch into a file, 0600, that appears when it is whole.
func FetchFile(ctx context.Context, opt FetchOptions, path string) (Fetched, error) {
	part, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".part-*") // 0600
	if err != nil {
		return Fetched{}, fmt.Errorf("fetch packets: %w", err)
	}
	got, err := Fetch(ctx, opt, part)
	if closed := part.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(part.Name(), path)
	}
	if err != nil {
		os.Remove(part.Name())
	}
	return got, err
}

// ReadToken returns the token in a file, or for an empty path that of the
// environment's TAPWATCH_FETCH_TOKEN; environ is as of os.Environ.
func ReadToken(path string, environ []string) (string, error) {
	const name = "TAPWATCH_FETCH_TOKEN"
	if path == "" {
		for _, e := range environ {
			if token, ok := strings.CutPrefix(e, name+"="); ok && token != "" {
				return strings.TrimSpace(token), nil
			}
		}
		return "", kit.Hint(errors.New("fetch packets: a token is needed"), "give --token-file, or set "+name)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("fetch packets: read token: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", fmt.Errorf("fetch packets: read token: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// AddToken adds a line to a token file, and makes the file where there is none.
func AddToken(path string, line Token) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("add token: %w", err)
	}
	list, err := readTokens(f)
	for _, t := range list {
		if t.Name == line.Name {
			err = kit.Hint(fmt.Errorf("there is a token of %s already", t.Name), "remove its line first, or choose another name")
		}
	}
	if err == nil {
		_, err = f.WriteString(line.String() + "\n")
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("add token to %s: %w", path, err)
	}
	return nil
}
