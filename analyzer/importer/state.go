package importer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/disk"
)

// followState remembers how far each followed conn.log was published. The other
// logs are read from their beginning after a restart: what they say is only kept in memory.
type followState struct {
	path string
	lock *os.File
	Logs map[string]*logState `json:"logs"`
}

// logState is the state of one conn.log.
type logState struct {
	Epoch   uint64 `json:"epoch"`
	Seq     uint64 `json:"seq"`     // of the last batch in Kafka
	FlowID  uint64 `json:"flow_id"` // of the last connection in it
	Offset  int64  `json:"offset"`  // octets that are in Kafka
	Line    int64  `json:"line"`
	Pending int64  `json:"pending,omitempty"` // end of the batch that is being made; 0 none
	Header  []byte `json:"header,omitempty"`
	// Head are octets at the beginning of the file and their hash: they tell it from its successor.
	Head int64  `json:"head"`
	Hash string `json:"hash"`

	made uint64
}

// headBytes is how much of a file's beginning tells it from others: Zeek's header holds the time it was opened.
const headBytes = 4096

func openState(path string) (*followState, error) {
	s := &followState{path: path, Logs: make(map[string]*logState)}
	var err error
	if s.lock, err = os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("open import state: %w", err)
	}
	if err := disk.Lock(s.lock); err != nil {
		s.lock.Close()
		return nil, kit.Hint(fmt.Errorf("lock import state %s: %w", path, err), "another import follows these logs")
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil {
		s.lock.Close()
		return nil, kit.Hint(fmt.Errorf("read import state %s: %w", path, err), "without it the logs would be stored again")
	}
	return s, nil
}

// write replaces the state, so that a crash leaves the old or the new one.
func (s *followState) write() error {
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write import state: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write import state: %w", err)
	}
	if err := os.Rename(s.path+".new", s.path); err != nil {
		return fmt.Errorf("write import state: %w", err)
	}
	return nil
}

// log is the state of a file; a new one where there is none.
func (s *followState) log(g *growing) *logState {
	l := s.Logs[g.path]
	if l == nil {
		l = &logState{Epoch: newEpoch()}
		l.fingerprint(g.f)
		s.Logs[g.path] = l
	}
	return l
}

// fingerprint takes the beginning of the file, as long as it is short of headBytes anew.
func (l *logState) fingerprint(f *os.File) {
	if l.Head < headBytes {
		l.Head, l.Hash = headOf(f, headBytes)
	}
}

func headOf(r io.ReaderAt, n int64) (int64, string) {
	b := make([]byte, n)
	k, _ := r.ReadAt(b, 0)
	sum := sha256.Sum256(b[:k])
	return int64(k), hex.EncodeToString(sum[:])
}

// same says whether a file is the one of the state: begins as it did, and is no shorter than what was read of it.
func (l *logState) same(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < max(l.Offset, l.Pending) {
		return false
	}
	n, hash := headOf(f, l.Head)
	return n == l.Head && hash == l.Hash
}
