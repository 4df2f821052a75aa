package analyzer

import (
	"context"

	"github.com/tapwatch/tapwatch/analyzer/importer"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
)

// ImportConfig is the configuration of Import.
type ImportConfig = importer.Config

// ImportTally is what became of the input of an import.
type ImportTally = source.Tally

// DefaultImportConfig is that of package importer.
func DefaultImportConfig() ImportConfig { return importer.DefaultConfig() }

// Import brings flows of logs and archives into Kafka, see importer.Run.
func Import(ctx context.Context, cfg ImportConfig, format string, paths []string) (ImportTally, error) {
	return importer.Run(ctx, cfg, format, paths)
}

// ImportFollow imports Zeek logs that grow, until ctx ends, see importer.Follow.
func ImportFollow(ctx context.Context, cfg ImportConfig, files []string) (ImportTally, error) {
	return importer.Follow(ctx, cfg, files)
}

// ImportLive receives what routers export until ctx ends, see importer.Live.
func ImportLive(ctx context.Context, cfg ImportConfig) error { return importer.Live(ctx, cfg) }
