package probe

import (
	"github.com/tapwatch/tapwatch/probe/export"
	"github.com/tapwatch/tapwatch/proto/sign"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// signing signs the batches on their way into a store.
type signing struct {
	export.Store
	signer *sign.Signer
}

// signed is store, with batches signed by the key of cfg if there is one.
func signed(cfg Config, store export.Store) (export.Store, error) {
	if cfg.SignKey == "" {
		return store, nil
	}
	signer, err := sign.Open(cfg.SignKey)
	if err != nil {
		return nil, err
	}
	return signing{store, signer}, nil
}

func (s signing) Append(r spool.Record) error {
	r.Value = s.signer.Sign(r.Value)
	return s.Store.Append(r)
}
