//! Who is asking, and what they may do.
//!
//! | module | knows |
//! |---|---|
//! | `permission` | roles and scopes, in one table |
//! | `identity` | somebody who was recognised, and how far it reaches |
//! | `caller` | the same as an argument of an operation |
//! | `access_token` | tokens that say who somebody is for some minutes |
//! | `secret_text` | random texts that are shown once, and what is kept of them |
//! | `signing` | the keys that sign, from the settings |
//! | `accounts` | recognising whoever asks |
//! | `login` | coming in, staying in, going out |
//! | `users`, `keys` | looking after users and API keys |
//! | `post` | mails that tell of what happens to an account |
//! | `ticket` | what a browser opens a stream with |
//! | `password`, `throttle` | hashing, and how often it may be tried |

mod access_token;
mod accounts;
mod caller;
mod identity;
mod keys;
mod login;
mod password;
pub mod permission;
mod post;
mod secret_text;
mod signing;
mod throttle;
mod ticket;
mod users;

pub(crate) use access_token::AccessTokens;
pub(crate) use accounts::{Accounts, Signing, away};
pub use caller::Caller;
pub(crate) use caller::SCHEME;
pub use identity::{Identity, Key, Reach};
pub(crate) use keys::KeyWish;
pub(crate) use login::{Origin, Tokens};
pub use permission::{Permission, Role};
pub use post::Post;
pub(crate) use post::unposted;
pub use secret_text::secret as made_up_secret;
pub(crate) use secret_text::{Seal, digest, random};
pub use signing::{Secrets, WeakSecrets};
pub(crate) use ticket::{StreamCaller, TICKET_LIFE};
pub(crate) use users::UserChange;
pub use users::{FirstAdmin, Users};
