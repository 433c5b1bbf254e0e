/** What other services may know about `user`: the shapes that its actions take and answer. */

/** `user` is held by everybody, `admin` by those who run the shop. */
export type Role = "user" | "admin";

/** POST /register. */
export interface RegisterParams {
  email: string;
  password: string;
  name: string;
}

/** PUT /profile/password. */
export interface PasswordParams {
  currentPassword: string;
  newPassword: string;
}

/** POST /register, GET /profile and `user.get`: an account as its owner sees it. */
export interface UserView {
  id: string;
  email: string;
  name: string;
  roles: Role[];
  createdAt: string;
}

/** `user.verifyCredentials`, called by auth at login. */
export interface CredentialsParams {
  email: string;
  password: string;
}

/** What a token says about its holder. `user.verifyCredentials` answers null where the credentials are wrong. */
export interface Identity {
  id: string;
  roles: Role[];
}

/** `user.contacts`, called by notification. */
export interface ContactsParams {
  ids: string[];
}

/** Where somebody is written to. */
export interface Contact {
  id: string;
  email: string;
  name: string;
}

/** Payload of `user.registered` version 1. */
export interface UserRegisteredV1 {
  userId: string;
  email: string;
  name: string;
}
