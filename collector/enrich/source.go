package enrich

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// Bounds of what is read, in octets.
const (
	maxDatabase = 1 << 30
	maxFile     = 256 << 20
	maxFeed     = 64 << 20
	maxEvents   = 20_000 // files of a MISP feed
	feedTimeout = 30 * time.Second
)

// errTooLarge is a file or answer above its bound.
var errTooLarge = errors.New("too large")

func isURL(location string) bool {
	return strings.HasPrefix(location, "http://") || strings.HasPrefix(location, "https://")
}

// document is one file, or one answer of a feed. It is never changed.
type document struct {
	name string
	data []byte
}

// reader reads a location again and again.
type reader struct {
	location string
	limit    int64
	access   Access
	client   *http.Client
	etag     string
	modified string
	seen     string // what the file looked like
}

// errSame: nothing has changed since the last read.
var errSame = errors.New("not changed")

// read returns the documents of the location, or errSame. After an error, the
// next read tries again whatever the file looks like.
func (r *reader) read(ctx context.Context) ([]document, error) {
	if isURL(r.location) {
		return r.fetch(ctx)
	}
	look, err := r.look()
	if err != nil {
		r.seen = ""
		return nil, err
	}
	if look == r.seen {
		return nil, errSame
	}
	docs, err := r.files()
	if err != nil {
		r.seen = ""
		return nil, err
	}
	r.seen = look
	return docs, nil
}

// look tells whether a file, or one of a directory, may have changed: by name,
// size, time and number.
func (r *reader) look() (string, error) {
	info, err := os.Stat(r.location)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return looks(info), nil
	}
	names, err := eventFiles(r.location)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, name, looks(info))
	}
	return string(sum.Sum(nil)), nil
}

func looks(info fs.FileInfo) string {
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano(), inode(info))
}

func (r *reader) files() ([]document, error) {
	info, err := os.Stat(r.location)
	if err != nil {
		return nil, err
	}
	names := []string{r.location}
	if info.IsDir() {
		if names, err = eventFiles(r.location); err != nil {
			return nil, err
		}
	}
	docs := make([]document, 0, len(names))
	left := r.limit
	for _, name := range names {
		data, err := readFile(name, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(data))
		docs = append(docs, document{name, data})
	}
	return docs, nil
}

// eventFiles are the JSON files of a MISP feed.
func eventFiles(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, kit.Hint(fmt.Errorf("read %s: no .json file in the directory", dir), "a directory is read as a MISP feed")
	}
	if len(names) > maxEvents {
		return nil, fmt.Errorf("read %s: %w: %d files, the limit is %d", dir, errTooLarge, len(names), maxEvents)
	}
	return names, nil
}

func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a file", name)
	}
	return readAll(f, name, info.Size(), limit)
}

func readAll(from io.Reader, name string, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, fmt.Errorf("read %s: %w: %d octets, the limit is %d", name, errTooLarge, size, limit)
	}
	data, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: %w: the limit is %d octets", name, errTooLarge, limit)
	}
	return data, nil
}

// fetch asks a URL, and not again for what has not changed (RFC 9110, sections
// 13.1.2 and 13.1.3).
func (r *reader) fetch(ctx context.Context) ([]document, error) {
	ctx, cancel := context.WithTimeout(ctx, feedTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.location, nil)
	if err != nil {
		return nil, err
	}
	if r.etag != "" {
		req.Header.Set("If-None-Match", r.etag)
	}
	if r.modified != "" {
		req.Header.Set("If-Modified-Since", r.modified)
	}
	if r.access.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.access.Token.Reveal())
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err // names method and URL
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return nil, errSame
	default:
		return nil, fmt.Errorf("get %s: %s", req.URL.Redacted(), resp.Status)
	}
	data, err := readAll(resp.Body, req.URL.Redacted(), max(resp.ContentLength, 0), r.limit)
	if err != nil {
		return nil, err
	}
	r.etag, r.modified = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	return []document{{req.URL.Path, data}}, nil
}

// forget makes the next read a whole one.
func (r *reader) forget() { r.seen, r.etag, r.modified = "", "", "" }

// newReader prepares to read a location; the TLS files are read now.
func newReader(location string, limit int64, access Access) (*reader, error) {
	r := &reader{location: location, limit: limit, access: access}
	if !isURL(location) {
		return r, nil
	}
	tls, err := access.TLS.Config()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig, transport.DisableKeepAlives = tls, true
	r.client = &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		// A token must not travel in the clear, or to another host.
		if len(via) > 3 || req.URL.Scheme != via[0].URL.Scheme || req.URL.Host != via[0].URL.Host {
			return errors.New("redirected to another place")
		}
		return nil
	}}
	return r, nil
}
