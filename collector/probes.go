package collector

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/tapwatch/tapwatch/proto/sign"
)

// Probes says which probes may publish, and as whom.
type Probes struct {
	Keys     string `conf:"keys" help:"file of probes' public keys, a line NAME KEY each, as \"probe identity\" prints; read again when it changes; empty: batches are taken as they come"`
	Required bool   `conf:"required" help:"refuse batches of probes that have no key in the file"`
}

// keysEvery is how often the file is looked at.
const keysEvery = 2 * time.Second

// identities checks who made a batch, by the file as it is now. A file that has
// become unreadable leaves the keys as they were.
type identities struct {
	Probes
	log *slog.Logger

	mu     sync.Mutex
	keys   *sign.Keys
	stamp  stamp
	looked time.Time
}

// stamp tells a file from what it was.
type stamp struct {
	changed time.Time
	size    int64
}

func newIdentities(cfg Probes, log *slog.Logger) (*identities, error) {
	i := &identities{Probes: cfg, log: log}
	if err := i.read(); err != nil {
		return nil, fmt.Errorf("probes.keys: %w", err)
	}
	return i, nil
}

func (i *identities) read() error {
	i.looked = time.Now()
	info, err := os.Stat(i.Keys)
	if err == nil && i.keys != nil && (stamp{info.ModTime(), info.Size()}) == i.stamp {
		return nil
	}
	keys, err := sign.ReadKeys(i.Keys, i.Required)
	if err != nil {
		return err
	}
	i.keys, i.stamp = keys, stamp{info.ModTime(), info.Size()}
	i.log.Info("probes' keys are read", "file", i.Keys, "probes", keys.Len())
	return nil
}

// verify is called by the readers of all partitions.
func (i *identities) verify(probe string, message []byte) error {
	i.mu.Lock()
	if time.Since(i.looked) >= keysEvery {
		if err := i.read(); err != nil {
			i.log.Warn("probes' keys stay as they were", "cause", err)
		}
	}
	keys := i.keys
	i.mu.Unlock()
	return keys.Verify(probe, message)
}
