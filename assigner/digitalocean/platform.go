//go:build 386 || arm || mips || mipsle || amd64p32 || wasm

package digitalocean

// godo holds IDs in an int, and the resource_id of an IPv4 address is that address as a 32-bit
// unsigned number: on a 32-bit platform no reply about an address from 128.0.0.0 up can be decoded,
// and an assign reports an error after the address has moved.
var _ = theDigitalOceanProviderNeedsA64BitPlatform
