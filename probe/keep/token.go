package keep

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// Rights that a token may have.
const (
	RightPackets = "packets" // fetch packets
	RightStats   = "stats"   // see what the ring holds
)

var allRights = []string{RightPackets, RightStats}

// Token is a line of the token file: who may do what. The token itself is not in it.
type Token struct {
	Name   string // of the person or program, without blanks
	Sum    [sha256.Size]byte
	Rights []string
	Until  time.Time // not valid from then on; zero: for ever
	Within string    // BPF expression: only packets that match may be seen; empty: all
}

// tokenBytes are random: nobody finds a token by trying, and a plain hash protects
// it well enough.
const tokenBytes = 32

// NewToken makes a token for name and the line that lets it in.
func NewToken(name string, rights []string, until time.Time, within string) (token string, line Token, err error) {
	if len(strings.Fields(name)) != 1 || strings.TrimSpace(name) != name {
		return "", Token{}, fmt.Errorf("name %q: one word is needed", name)
	}
	var b [tokenBytes]byte
	rand.Read(b[:]) // never fails since Go 1.24
	token = "tw_" + base64.RawURLEncoding.EncodeToString(b[:])
	line = Token{Name: name, Sum: sha256.Sum256([]byte(token)), Rights: rights, Until: until, Within: strings.TrimSpace(within)}
	if _, err := parseToken(line.String()); err != nil {
		return "", Token{}, err
	}
	return token, line, nil
}

// String is the line of t in a token file.
func (t Token) String() string {
	s := t.Name + " " + hex.EncodeToString(t.Sum[:]) + " " + strings.Join(t.Rights, ",")
	if !t.Until.IsZero() {
		s += " until=" + t.Until.UTC().Format(time.RFC3339)
	}
	if t.Within != "" {
		s += " " + t.Within
	}
	return s
}

// parseToken reads one line: name, sha256 of the token in hexadecimal digits,
// rights with commas, optionally until=TIME, and the rest is a BPF expression.
func parseToken(line string) (Token, error) {
	fields := strings.Fields(line)
	if len(fields) < 3 {
		return Token{}, errors.New("name, sha256 of the token, and rights are needed")
	}
	t := Token{Name: fields[0], Rights: strings.Split(fields[2], ",")}
	for _, r := range t.Name {
		if r <= ' ' || r == 0x7f || r > '~' {
			return Token{}, fmt.Errorf("name %q: printable ASCII characters are needed", t.Name)
		}
	}
	if len(t.Name) > 64 || strings.HasPrefix(t.Name, "#") {
		return Token{}, fmt.Errorf("name %q: at most 64 characters are possible, and none that begins with #", t.Name)
	}
	sum, err := hex.DecodeString(fields[1])
	if err != nil || len(sum) != sha256.Size {
		return Token{}, fmt.Errorf("token of %s: its sha256, 64 hexadecimal digits, is needed", t.Name)
	}
	copy(t.Sum[:], sum)
	for _, r := range t.Rights {
		if !slices.Contains(allRights, r) {
			return Token{}, fmt.Errorf("rights of %s: %q is not one of %s", t.Name, r, strings.Join(allRights, ", "))
		}
	}
	rest := fields[3:]
	if len(rest) > 0 {
		if text, ok := strings.CutPrefix(rest[0], "until="); ok {
			if t.Until, err = ParseTime(text); err != nil {
				return Token{}, fmt.Errorf("token of %s: until: %w", t.Name, err)
			}
			rest = rest[1:]
		}
	}
	t.Within = strings.Join(rest, " ")
	return t, nil
}

// maxTokenFile bounds the file of tokens, in bytes.
const maxTokenFile = 1 << 20

// readTokens reads the lines of a token file. Empty lines and those that begin
// with # say nothing.
func readTokens(in io.Reader) ([]Token, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxTokenFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxTokenFile {
		return nil, fmt.Errorf("it is larger than %s", kit.Bytes(maxTokenFile))
	}
	var list []Token
	names := make(map[string]bool)
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		t, err := parseToken(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if names[t.Name] {
			return nil, fmt.Errorf("line %d: there is a token of %s already", i+1, t.Name)
		}
		names[t.Name] = true
		list = append(list, t)
	}
	return list, nil
}

// tokens are those of a file, which is read again when it changes.
type tokens struct {
	path string
	mu   sync.Mutex
	mark fileMark
	list []Token
}

// current returns the tokens of the file as it is now. A file that cannot be used
// lets nobody in.
func (t *tokens) current() ([]Token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	mark, err := markOf(t.path)
	if err != nil {
		return nil, kit.Hint(fmt.Errorf("read tokens: %w", err), "probe token makes lines for this file")
	}
	if mark == t.mark {
		return t.list, nil
	}
	if mark.mode.Perm()&0o022 != 0 && runtime.GOOS != "windows" {
		return nil, kit.Hint(fmt.Errorf("read tokens %s: mode %#o lets others write it", t.path, mark.mode.Perm()), "chmod 600 "+t.path)
	}
	f, err := os.Open(t.path)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	defer f.Close()
	list, err := readTokens(f)
	if err != nil {
		return nil, fmt.Errorf("read tokens %s: %w", t.path, err)
	}
	for _, k := range list {
		if k.Within == "" {
			continue
		}
		if _, err := capture.CompileFilter(k.Within, capture.LinkEthernet, 0); err != nil {
			return nil, fmt.Errorf("read tokens %s: token of %s: %w", t.path, k.Name, err)
		}
	}
	t.list, t.mark = list, mark
	return list, nil
}

// find returns the line of a token, or false. The time it takes does not depend on
// how much of a token is right.
func find(list []Token, token string) (Token, bool) {
	sum := sha256.Sum256([]byte(token))
	at := -1
	for i := range list {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(list[i].Sum[:], sum[:]), i, at)
	}
	if at < 0 {
		return Token{}, false
	}
	return list[at], true
}

// fileMark tells whether a file has changed.
type fileMark struct {
	time time.Time
	size int64
	mode os.FileMode
}

func markOf(path string) (fileMark, error) {
	st, err := os.Stat(path)
	if err != nil {
		return fileMark{}, err
	}
	return fileMark{st.ModTime(), st.Size(), st.Mode()}, nil
}
