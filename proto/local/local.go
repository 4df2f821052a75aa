// Package local runs Kafka and ClickHouse on one machine, without containers
// and without root, for the all-in-one binary and for tests.
//
// In comes a directory for the state and a few limits; out come addresses that
// any Kafka or ClickHouse client can use. Kafka is an in-process broker that
// keeps its log on disk. ClickHouse is a child process: the `clickhouse`
// binary where there is one, otherwise this very program executed again, which
// then loads libchdb.so. A supervisor restarts that child on the same ports
// whenever it dies.
//
// Both listen on 127.0.0.1 only: the ClickHouse user `default` has no
// password. Each locks its directory against a second instance. Neither is
// meant for production, and nothing may depend on the two being local: the
// services see addresses, never this package.
//
// A program that starts one of the child processes must call RunChildIfAsked
// as the first statement of main or TestMain.
package local

import "errors"

// ErrInUse is wrapped by every error that says a directory or a port belongs
// to another process.
var ErrInUse = errors.New("in use by another process")

// ErrNoClickHouse is wrapped by the error of FindClickHouse when this machine
// has neither a clickhouse binary nor libchdb.so.
var ErrNoClickHouse = errors.New("no clickhouse found")
