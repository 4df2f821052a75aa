package probe

import (
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/confine"
)

// ConfineConfig says whether and how the probe gives its privileges up.
type ConfineConfig struct {
	Enabled bool     `conf:"enabled" help:"once the interfaces are open, give up all privileges; the program then executes itself once"`
	User    string   `conf:"user" help:"user to become when started as root; empty: none"`
	Read    []string `conf:"read" help:"further files and directories that may be read"`
}

// confine gives the privileges up, if there are interfaces to hold on to. The
// first time the program starts anew, and takes the rings over in open.
func (in *input) confine(cfg Config, log *slog.Logger) (err error) {
	if !cfg.Confine.Enabled || len(in.rings) == 0 {
		return nil
	}
	var state []byte
	var keep []int
	if _, resumed := confine.Resumed(); !resumed {
		if state, keep, err = capture.Handover(in.rings); err != nil {
			return err
		}
	}
	read, write := cfg.files()
	_, err = confine.Apply(confine.Config{Read: read, Write: write, User: cfg.Confine.User, Log: log}, state, keep)
	return err
}

// files are what the probe reads and writes once it runs. A file that may be
// replaced, as by editors and Kubernetes, stands there with its directory.
func (cfg Config) files() (read, write []string) {
	read = slices.Concat(cfg.Confine.Read, libraries)
	tls, api := cfg.Kafka.TLS, cfg.Keep.API
	for _, path := range slices.Concat(cfg.Services, cfg.Patterns, []string{cfg.SignKey, cfg.Spool.KeyFile, cfg.Privacy.KeyFile, tls.CA, tls.Cert, tls.Key, cfg.IPFIX.TLS.CA,
		cfg.IPFIX.TLS.Cert, cfg.IPFIX.TLS.Key, cfg.Keep.KeyFile, api.Cert, api.Key, api.ClientCA, api.Tokens}) {
		if path != "" {
			read = append(read, filepath.Dir(path))
		}
	}
	write = []string{cfg.Spool.Dir}
	if cfg.Keep.Dir != "" {
		write = append(write, cfg.Keep.Dir)
	}
	if api.Audit != "" {
		write = append(write, filepath.Dir(api.Audit))
	}
	return read, write
}

// libraries is where libpcap lies, which compiles the filters of a reload.
var libraries = []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"}
