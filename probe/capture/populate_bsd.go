//go:build darwin || freebsd

package capture

const madvPopulateRead = 3 // MADV_WILLNEED
